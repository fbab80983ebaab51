// SPDX-License-Identifier: GPL-2.0

//! The open files of all devices, by the process that opened them.

use core::cmp::Reverse;

use kernel::{
    new_mutex,
    prelude::*,
    rbtree::{RBTree, RBTreeNodeReservation},
    str::CString,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, Mutex,
    },
    task::Pid,
};

use super::{Dump, Process};
use crate::watch::debugfs::{Directory, File};

/// Where a file is among all: by the thread group that opened it, the latest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// In the initial pid namespace.
    pub(crate) tgid: Pid,
    /// How many files had been opened before.
    number: Reverse<u64>,
}

/// The open files of all devices.
#[pin_data]
pub(crate) struct Registry {
    opened: Atomic<u64>,
    #[pin]
    processes: Mutex<RBTree<Key, Arc<Process>>>,
    /// Where `dumps` are.
    directory: Arc<Directory>,
    /// The files of debugfs that say what is open, one a thread group.
    #[pin]
    dumps: Mutex<RBTree<Pid, GroupDump>>,
}

/// The file about a thread group.
struct GroupDump {
    /// How many open files it has.
    count: usize,
    _file: File<Dump>,
}

impl Registry {
    /// Files that say what is open go to `directory`. May sleep. `ENOMEM`.
    pub(crate) fn new(directory: Arc<Directory>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                opened: Atomic::new(0),
                processes <- new_mutex!(RBTree::new(), "Registry::processes"),
                directory,
                dumps <- new_mutex!(RBTree::new(), "Registry::dumps"),
            }),
            GFP_KERNEL,
        )
    }

    /// A key for a file that is being opened.
    pub(super) fn new_key(&self, tgid: Pid) -> Key {
        let number = Reverse(self.opened.fetch_add(1, Relaxed));
        Key { tgid, number }
    }

    /// Enters a file that has been opened. May sleep. `ENOMEM`.
    pub(super) fn insert(self: &Arc<Self>, process: &Arc<Process>) -> Result {
        let room = RBTreeNodeReservation::new(GFP_KERNEL_ACCOUNT)?;
        self.publish(process.key.tgid)?;
        let node = room.into_node(process.key, process.clone());
        // Keys are never used again, so nothing is replaced.
        let replaced = self.processes.lock().insert(node);
        drop(replaced);
        Ok(())
    }

    /// Takes a file out that is being closed. May sleep.
    pub(super) fn remove(&self, process: &Process) {
        let removed = self.processes.lock().remove_node(&process.key);
        drop(removed);
        self.unpublish(process.key.tgid);
    }

    /// A thread group opens a file: it has a [`Dump`] from the first one on. `ENOMEM`.
    fn publish(self: &Arc<Self>, tgid: Pid) -> Result {
        if Self::count_one_more(&mut self.dumps.lock(), tgid) {
            return Ok(());
        }
        // Before the lock that all who open and close need: this may have to wait for memory. (So may
        // what the kernel makes of it below. Who opens has the misc core's mutex anyway.)
        let room = RBTreeNodeReservation::new(GFP_KERNEL_ACCOUNT)?;
        let name = CString::try_from_fmt(fmt!("{tgid}"))?;
        let dump = Dump::process(self, tgid)?;
        let mut dumps = self.dumps.lock();
        // Another thread may have been faster.
        if Self::count_one_more(&mut dumps, tgid) {
            return Ok(());
        }
        let dump = GroupDump {
            count: 1,
            _file: self.directory.file(&name, dump),
        };
        let replaced = dumps.insert(room.into_node(tgid, dump));
        drop(replaced);
        Ok(())
    }

    /// Counts one more open file of a thread group that has a [`Dump`]. `false` if it has none.
    fn count_one_more(dumps: &mut RBTree<Pid, GroupDump>, tgid: Pid) -> bool {
        let dump = dumps.get_mut(&tgid);
        dump.map(|dump| dump.count += 1).is_some()
    }

    /// It closes one. With the last, the [`Dump`] goes, which waits for those who read it.
    fn unpublish(&self, tgid: Pid) {
        let mut dumps = self.dumps.lock();
        let Some(dump) = dumps.get_mut(&tgid) else {
            return;
        };
        dump.count -= 1;
        if dump.count == 0 {
            let removed = dumps.remove_node(&tgid);
            drop(removed);
        }
    }

    /// The first file at `from` or after it. May sleep.
    fn lower_bound(&self, from: &Key) -> Option<Arc<Process>> {
        let processes = self.processes.lock();
        let cursor = processes.cursor_lower_bound(from)?;
        Some(cursor.current().1.clone())
    }

    /// The file with the least key. May sleep.
    pub(super) fn first(&self) -> Option<Arc<Process>> {
        self.lower_bound(&Key::latest_of(0))
    }

    /// The file with the least key that is greater than `key`. May sleep.
    pub(super) fn after(&self, key: Key) -> Option<Arc<Process>> {
        self.lower_bound(&key.following()?)
    }

    /// The open files of a thread group, the latest first. `next` may sleep.
    pub(super) fn of(&self, tgid: Pid) -> impl Iterator<Item = Arc<Process>> + '_ {
        let first = self.lower_bound(&Key::latest_of(tgid));
        core::iter::successors(first, |process| self.after(process.key))
            .take_while(move |process| process.key.tgid == tgid)
    }
}

impl Key {
    /// Before all files of a thread group.
    fn latest_of(tgid: Pid) -> Self {
        Key {
            tgid,
            number: Reverse(u64::MAX),
        }
    }

    /// The least key that is greater.
    fn following(self) -> Option<Key> {
        let Reverse(number) = self.number;
        Some(match number.checked_sub(1) {
            Some(number) => Key {
                number: Reverse(number),
                ..self
            },
            None => Key::latest_of(self.tgid.checked_add(1)?),
        })
    }
}
