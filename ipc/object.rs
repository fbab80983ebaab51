// SPDX-License-Identifier: GPL-2.0

//! Objects in messages: references to nodes, and files.
//!
//! A sender puts an object into its payload and lists its offset. On the way the object is read once,
//! translated here, and only then written into the receiver's buffer. What the buffer then refers to
//! is kept in [`Objects`], on the kernel's side: nothing is ever read back from pages that the
//! receiver can look at.

use kernel::{
    alloc::AllocError,
    fs::{
        file::{self, FileDescriptorReservation},
        File,
    },
    prelude::*,
    security,
    sync::{aref::ARef, Arc},
    task::Pid,
};

use super::{
    lazy::{List, USUAL},
    node::{LocalReference, Node},
    process::Process,
    task,
    thread::Thread,
    transaction::Failure,
    Buffer,
};
use crate::{
    uapi::{object, FlatObject, Strength},
    watch::trace,
};

/// Something that a message in a receiver's buffer refers to.
enum Object {
    /// A node of the receiver itself.
    Own(#[expect(dead_code, reason = "what counts is when it is dropped")] LocalReference),
    /// A handle of the receiver, and one reference to it.
    Handle(u32, Strength),
    /// A file that becomes a descriptor of the receiver when the message is delivered.
    File {
        file: ARef<File>,
        /// Where in the buffer the number goes.
        offset: usize,
        /// Whether the descriptor goes with the buffer.
        in_array: bool,
    },
    /// A descriptor of the receiver, which a file has become. In an array it is the receiver's while
    /// it has the buffer, and closed when it gives that back: see [`Objects::descriptors`].
    Descriptor { number: u32, in_array: bool },
}

impl Object {
    /// The descriptor that goes with the buffer, if this is one.
    fn descriptor_in_array(&self) -> Option<u32> {
        match *self {
            Object::Descriptor {
                number,
                in_array: true,
            } => Some(number),
            _ => None,
        }
    }
}

/// What a message refers to. Dropping gives the references up.
///
/// Dropping takes locks of `ipc`: none may be held.
pub(crate) struct Objects {
    /// The process that the message is from, and its number there.
    from_tgid: Pid,
    id: u32,
    to: Arc<Process>,
    list: List<Object>,
}

// At most what `kmalloc()` has in 64 bytes.
kernel::static_assert!(size_of::<Objects>() <= 64);

impl Drop for Objects {
    fn drop(&mut self) {
        self.give_up_references();
    }
}

/// Where the descriptor's number is in a `struct binder_fd_object`, in bytes.
const FD_OFFSET: usize = 8;

impl Objects {
    /// Of message `id` of `from_tgid`, to the process `to`. May sleep. `ENOMEM`.
    pub(super) fn new(from_tgid: Pid, id: u32, to: &Arc<Process>) -> Result<KBox<Self>> {
        let spare = to.inner.lock().spare_objects.take();
        if let Some(mut objects) = spare {
            (objects.from_tgid, objects.id) = (from_tgid, id);
            return Ok(objects);
        }
        KBox::init(
            init!(Objects {
                from_tgid,
                id,
                to: to.clone(),
                list: List::new(),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Gives up what the message refers to, but for [`Objects::descriptors`]. No lock may be held.
    pub(super) fn give_up_references(&mut self) {
        for object in self.list.iter() {
            if let Object::Handle(number, strength) = object {
                self.to.decrement_handle(*number, *strength);
            }
        }
        self.list
            .retain(|object| object.descriptor_in_array().is_some());
    }

    /// Keeps the memory for the next message to the process, unless there is some already. The
    /// references have been given up. No lock may be held.
    pub(super) fn recycle(mut objects: KBox<Self>, to: &Process) {
        objects.list = List::new();
        let mut inner = to.inner.lock();
        let surplus = if inner.is_dead || inner.spare_objects.is_some() {
            Some(objects)
        } else {
            inner.spare_objects.replace(objects)
        };
        drop(inner);
        drop(surplus);
    }

    /// Turns an object of the sender's into what the receiver gets to see, and keeps what that
    /// refers to.
    ///
    /// `offset` is where in the buffer it will be. May sleep. When it fails, nothing has changed.
    pub(super) fn translate(
        &mut self,
        sender: &Thread,
        wire: FlatObject,
        offset: usize,
        accepts_files: bool,
    ) -> Result<FlatObject, Failure> {
        // Memory first: what has been referred to must not get lost.
        self.list.reserve(1)?;
        let (kept, translated) = match wire.kind {
            object::BINDER | object::WEAK_BINDER => self.translate_node(sender, wire)?,
            object::HANDLE | object::WEAK_HANDLE => self.translate_handle(sender, wire)?,
            object::FD => {
                let number = wire.number();
                let offset = offset + FD_OFFSET;
                let file = self.translate_file(sender, number, offset, accepts_files, false)?;
                (file, wire.with_number(0))
            }
            _ => return Err(Failure::failed(EINVAL)),
        };
        self.keep(kept)?;
        Ok(translated)
    }

    /// Makes room for so many more objects at once.
    ///
    /// May sleep. `ENOMEM`.
    pub(super) fn expect(&mut self, count: usize) -> Result<(), AllocError> {
        self.list.reserve(count)
    }

    /// Takes a file for a descriptor in an array, which will be at `offset` in the buffer.
    ///
    /// May sleep. When it fails, nothing has changed.
    pub(super) fn add_array_file(
        &mut self,
        sender: &Thread,
        number: u32,
        offset: usize,
        accepts_files: bool,
    ) -> Result<(), Failure> {
        self.list.reserve(1)?;
        let file = self.translate_file(sender, number, offset, accepts_files, true)?;
        self.keep(file)
    }

    /// Keeps what there is room for.
    fn keep(&mut self, object: Object) -> Result<(), Failure> {
        // Were there no room, it would be given up like this.
        Ok(self.list.push_within_capacity(object)?)
    }

    /// A descriptor of the sender's becomes a file for the receiver.
    fn translate_file(
        &self,
        sender: &Thread,
        number: u32,
        offset: usize,
        accepts_files: bool,
        in_array: bool,
    ) -> Result<Object, Failure> {
        if !accepts_files {
            return Err(Failure::failed(EPERM));
        }
        let file = task::fget(number).map_err(Failure::failed)?;
        security::binder_transfer_file(&sender.process.cred, &self.to.cred, &file)
            .map_err(|_| Failure::failed(EPERM))?;
        trace::FdSent::trace(|| trace::FdSent {
            from_tgid: self.from_tgid,
            id: self.id,
            fd: number,
            offset: offset as u64,
        });
        Ok(Object::File {
            file,
            offset,
            in_array,
        })
    }

    /// A node of the sender's becomes a handle of the receiver's.
    fn translate_node(
        &self,
        sender: &Thread,
        wire: FlatObject,
    ) -> Result<(Object, FlatObject), Failure> {
        let (strength, kind) = match wire.kind {
            object::BINDER => (Strength::Strong, object::HANDLE),
            _ => (Strength::Weak, object::WEAK_HANDLE),
        };
        let local = Node::of_owner(&sender.process, wire.ptr, wire.cookie, wire.flags)
            .map_err(Failure::failed)?;
        self.may_transfer(sender)?;
        let number = self
            .to
            .refer_to(&local.node, strength, Some(sender))
            .map_err(Failure::failed)?;
        self.trace(&local.node, strength, trace::OWN, number.into());
        let translated = FlatObject {
            kind,
            cookie: 0,
            ..wire.with_number(number)
        };
        Ok((Object::Handle(number, strength), translated))
    }

    /// A handle of the sender's becomes one of the receiver's, or the receiver's own node.
    fn translate_handle(
        &self,
        sender: &Thread,
        wire: FlatObject,
    ) -> Result<(Object, FlatObject), Failure> {
        let (strength, own_kind) = match wire.kind {
            object::HANDLE => (Strength::Strong, object::BINDER),
            _ => (Strength::Weak, object::WEAK_BINDER),
        };
        // Keeps the node, and its owner's object, until the receiver's reference does.
        let local = LocalReference::to_handle(&sender.process, wire.number(), strength)
            .ok_or(Failure::failed(EINVAL))?;
        let node = &local.node;
        self.may_transfer(sender)?;
        let own = wire.number().into();
        if Arc::ptr_eq(&node.owner, &self.to) {
            self.trace(node, strength, own, trace::OWN);
            let translated = FlatObject {
                kind: own_kind,
                ptr: node.ptr,
                cookie: node.cookie,
                ..wire
            };
            return Ok((Object::Own(local), translated));
        }
        let number = self
            .to
            .refer_to(node, strength, None)
            .map_err(Failure::failed)?;
        self.trace(node, strength, own, number.into());
        let translated = FlatObject {
            cookie: 0,
            ..wire.with_number(number)
        };
        Ok((Object::Handle(number, strength), translated))
    }

    /// A reference to `node` is sent. What sender and receiver name it is as in
    /// [`trace::ObjectSent`].
    fn trace(&self, node: &Node, strength: Strength, from_handle: i64, to_handle: i64) {
        trace::ObjectSent::trace(|| trace::ObjectSent {
            from_tgid: self.from_tgid,
            id: self.id,
            node_tgid: node.owner.tgid,
            node: node.number.get(),
            from_handle,
            to_handle,
            strong: strength == Strength::Strong,
        });
    }

    fn may_transfer(&self, sender: &Thread) -> Result<(), Failure> {
        security::binder_transfer_binder(&sender.process.cred, &self.to.cred)
            .map_err(|_| Failure::failed(EPERM))
    }

    /// Makes descriptors of the current process for the files, and writes their numbers into the
    /// buffer. They can be used once they are [installed](Descriptors::install).
    ///
    /// May sleep. `ENOMEM`, whatever goes wrong: then the message cannot be delivered any more.
    pub(super) fn make_descriptors(
        &mut self,
        buffer: &mut Buffer,
        descriptors: &mut Descriptors,
    ) -> Result {
        let usual = self.list.len().min(USUAL);
        for object in self.list.iter_mut() {
            let Object::File {
                offset, in_array, ..
            } = *object
            else {
                continue;
            };
            if descriptors.0.is_empty() {
                descriptors.0.reserve(usual)?;
            }
            let reservation =
                FileDescriptorReservation::get_unused_fd_flags(file::flags::O_CLOEXEC)
                    .map_err(|_| ENOMEM)?;
            let number = reservation.reserved_fd();
            trace::FdReceived::trace(|| trace::FdReceived {
                from_tgid: self.from_tgid,
                id: self.id,
                fd: number,
                offset: offset as u64,
            });
            buffer
                .write(offset, &number.to_ne_bytes())
                .map_err(|_| ENOMEM)?;
            let made = Object::Descriptor { number, in_array };
            if let Object::File { file, .. } = core::mem::replace(object, made) {
                descriptors.0.push((reservation, file))?;
            }
        }
        Ok(())
    }

    /// The descriptors that go with the buffer, once the message is delivered.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = u32> + use<'_> {
        self.list.iter().filter_map(Object::descriptor_in_array)
    }
}

/// File descriptors that are reserved for the current process, and their files.
pub(super) struct Descriptors(List<(FileDescriptorReservation, ARef<File>)>);

impl Descriptors {
    /// None yet.
    pub(super) const fn new() -> Self {
        Descriptors(List::new())
    }

    /// Makes them usable.
    pub(super) fn install(self) {
        for (reservation, file) in self.0.into_elements() {
            reservation.fd_install(file);
        }
    }
}
