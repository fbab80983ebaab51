// SPDX-License-Identifier: GPL-2.0

//! All orders of steps that the counts of a node can see, tried one after another: handles of two
//! processes, messages, what the owner is told and acknowledges, and the death of any of them.
//!
//! A step is what happens with the owner's `inner` locked once (for handles also the `handles` of
//! whoever has them), so nothing can come in between. The arithmetic is the driver's own,
//! `ipc/counts.rs`; the steps are named after the functions that take them:
//!
//! - `Transfer`: `Node::of_owner()`, the owner sends the object. Makes the node if it is not there.
//! - `BecomeManager`: `Node::of_manager()`, while it has its `LocalReference`. A node that it made is
//!   one of `Transfer`.
//! - `Insert`: `Table::insert()` and `increment()`, with the owner as sender.
//! - `Sent`: the drop of the `LocalReference` that `of_owner()` gave.
//! - `Increment`: `Table::increment()`, for `BC_ACQUIRE` and `BC_INCREFS`.
//! - `Decrement`: `Table::decrement()`, for `BC_RELEASE` and `BC_DECREFS`.
//! - `Hold`: `Hold::new()`, a message to the node.
//! - `Free`: the drop of the `Hold`.
//! - `Read`: `Node::tell()`, the owner reads.
//! - `Acknowledge`: `Node::acknowledge()`, also when there is nothing to acknowledge.
//! - `ListenerDies`: `Table::remove_any()` until nothing is left.
//! - `OwnerDies`: `Process::release()`, which sets `is_dead` and empties the owner's queues.
//!
//! What has to be true in each state is in `State::check()`. That it can be false is shown by faults
//! that are put in, each of which has to be found.

use std::collections::{HashMap, VecDeque};

use crate::{
    counts::{Counts, News, Outcome},
    uapi::Strength,
};

/// Processes that have handles.
const LISTENERS: usize = 2;
/// Of each kind of reference of a handle, and messages under way: more of them is more of the same.
const MOST: u8 = 2;

/// A handle to the node.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
struct Handle {
    strong: u8,
    weak: u8,
}

impl Handle {
    fn exists(self) -> bool {
        self.strong > 0 || self.weak > 0
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
struct State {
    /// [`None`]: there is no node.
    counts: Option<Counts>,
    /// The node is in a queue of its owner's.
    is_queued: bool,
    /// It is the context manager's.
    is_manager: bool,
    owner_is_dead: bool,
    handles: [Handle; LISTENERS],
    /// References of objects that are being sent by the owner.
    transfers: u8,
    /// Messages to the node.
    holds: u8,
    /// What the owner has been returned and not been told otherwise since.
    owner_has_strong: bool,
    owner_has_weak: bool,
    /// What the owner was returned and has not acknowledged.
    owes_strong: bool,
    owes_weak: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Transfer,
    BecomeManager,
    Insert(usize, Strength),
    Sent,
    Increment(usize, Strength),
    Decrement(usize, Strength),
    Hold(usize),
    Free,
    Read,
    Acknowledge(Strength),
    ListenerDies(usize),
    OwnerDies,
}

/// What goes wrong in a driver that has this fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    /// `BR_ACQUIRE` takes no reference of the driver's until it is acknowledged.
    NoReferenceUntilDone,
    /// An acknowledgement is taken without one being due.
    AnyDoneCounts,
    /// A message takes no reference to its node.
    NoHold,
    /// The context manager's node is held by nobody.
    ManagerIsNotHeld,
    /// Who has a weak handle alone can make it a strong one.
    WeakBecomesStrong,
    /// The owner is not told when the last reference goes.
    LastIsNotTold,
    /// The node goes though the owner has not been told.
    GoesUntold,
    /// A listener's death leaves its strong count.
    DeathForgetsStrong,
    /// References that go after the owner's death are settled as if it lived.
    SettlesForTheDead,
}

type Checked<T = ()> = Result<T, &'static str>;

/// Unsigned counts: below 0 is what must never be.
fn checked(step: impl FnOnce(&mut Counts), counts: &mut Counts) -> Checked {
    let mut after = *counts;
    let step = std::panic::AssertUnwindSafe(|| {
        step(&mut after);
        after
    });
    match std::panic::catch_unwind(step) {
        Ok(after) => *counts = after,
        Err(_) => return Err("a count is below 0"),
    }
    Ok(())
}

impl State {
    fn counts(&mut self) -> Checked<&mut Counts> {
        self.counts
            .as_mut()
            .ok_or("the node is gone, and somebody refers to it")
    }

    /// `Node::settle()`.
    fn settle(&mut self, strength: Strength, fault: Fault) -> Checked {
        if self.owner_is_dead && fault != Fault::SettlesForTheDead {
            return Ok(());
        }
        match self.counts()?.outcome(strength) {
            Outcome::Stays => {}
            Outcome::Tell if fault == Fault::LastIsNotTold => {}
            Outcome::Tell if fault == Fault::GoesUntold => self.remove(),
            Outcome::Tell if self.owner_is_dead => return Err("a dead owner is told"),
            Outcome::Tell => self.is_queued = true,
            Outcome::Remove => self.remove(),
        }
        Ok(())
    }

    fn remove(&mut self) {
        self.counts = None;
        self.is_queued = false;
    }

    /// The step, if it can be taken.
    fn after(mut self, step: Step, fault: Fault) -> Checked<Option<State>> {
        match step {
            Step::Transfer => {
                if self.owner_is_dead || self.transfers == 1 {
                    return Ok(None);
                }
                match &mut self.counts {
                    Some(counts) => counts.hold(Strength::Weak),
                    None => self.counts = Some(Counts::new()),
                }
                self.transfers += 1;
            }
            Step::BecomeManager => {
                if self.transfers == 0 || self.is_manager || self.owner_is_dead {
                    return Ok(None);
                }
                let counts = self.counts()?;
                counts.become_manager();
                if fault == Fault::ManagerIsNotHeld {
                    counts.let_go(Strength::Strong);
                    counts.let_go(Strength::Weak);
                }
                self.is_manager = true;
            }
            Step::Insert(who, strength) => {
                if self.transfers == 0 || self.owner_is_dead {
                    return Ok(None);
                }
                if !self.add(who, strength, true, fault)? {
                    return Err("what was sent is refused");
                }
            }
            Step::Sent => {
                if self.transfers == 0 {
                    return Ok(None);
                }
                self.transfers -= 1;
                checked(|counts| counts.let_go(Strength::Weak), self.counts()?)?;
                self.settle(Strength::Weak, fault)?;
            }
            Step::Increment(who, strength) => {
                if !self.handles[who].exists() || !self.add(who, strength, false, fault)? {
                    return Ok(None);
                }
            }
            Step::Decrement(who, strength) => {
                let handle = &mut self.handles[who];
                let count = match strength {
                    Strength::Strong => &mut handle.strong,
                    Strength::Weak => &mut handle.weak,
                };
                if *count == 0 {
                    return Ok(None);
                }
                *count -= 1;
                let is_last = *count == 0 && strength == Strength::Strong;
                let is_gone = !handle.exists();
                if is_last {
                    self.remove_handle(Strength::Strong, fault)?;
                }
                if is_gone {
                    self.remove_handle(Strength::Weak, fault)?;
                }
            }
            Step::Hold(who) => {
                if self.handles[who].strong == 0 || self.owner_is_dead || self.holds == MOST {
                    return Ok(None);
                }
                if fault != Fault::NoHold {
                    self.counts()?.hold(Strength::Strong);
                }
                self.holds += 1;
            }
            Step::Free => {
                if self.holds == 0 {
                    return Ok(None);
                }
                self.holds -= 1;
                if fault != Fault::NoHold {
                    checked(|counts| counts.let_go(Strength::Strong), self.counts()?)?;
                    self.settle(Strength::Strong, fault)?;
                }
            }
            Step::Read => {
                if !self.is_queued || self.owner_is_dead {
                    return Ok(None);
                }
                self.is_queued = false;
                let news = self.counts()?.tell();
                if fault == Fault::NoReferenceUntilDone && news.acquire {
                    self.counts()?.let_go(Strength::Strong);
                }
                self.hear(news)?;
                if news.is_last {
                    self.remove();
                }
            }
            Step::Acknowledge(strength) => {
                let Some(counts) = self.counts.as_mut().filter(|_| !self.owner_is_dead) else {
                    return Ok(None);
                };
                if fault == Fault::AnyDoneCounts {
                    match strength {
                        Strength::Strong => counts.strong.pending = true,
                        Strength::Weak => counts.weak.pending = true,
                    }
                }
                let mut was_due = false;
                if fault == Fault::NoReferenceUntilDone && strength == Strength::Strong {
                    was_due = std::mem::take(&mut counts.strong.pending);
                } else {
                    checked(|counts| was_due = counts.acknowledge(strength), counts)?;
                }
                let owed = match strength {
                    Strength::Strong => &mut self.owes_strong,
                    Strength::Weak => &mut self.owes_weak,
                };
                if was_due != std::mem::take(owed) {
                    return Err("what is acknowledged was not what was told");
                }
                if was_due {
                    self.settle(strength, fault)?;
                }
                // The node was looked up.
                self.settle(Strength::Weak, fault)?;
            }
            Step::ListenerDies(who) => {
                let handle = std::mem::take(&mut self.handles[who]);
                if !handle.exists() {
                    return Ok(None);
                }
                if handle.strong > 0 && fault != Fault::DeathForgetsStrong {
                    self.remove_handle(Strength::Strong, fault)?;
                }
                self.remove_handle(Strength::Weak, fault)?;
            }
            Step::OwnerDies => {
                if self.owner_is_dead {
                    return Ok(None);
                }
                self.owner_is_dead = true;
                self.is_queued = false;
            }
        }
        Ok(Some(self))
    }

    /// One more reference of a handle's. Says whether it was granted.
    fn add(
        &mut self,
        who: usize,
        strength: Strength,
        is_sent: bool,
        fault: Fault,
    ) -> Checked<bool> {
        let handle = self.handles[who];
        let count = match strength {
            Strength::Strong => handle.strong,
            Strength::Weak => handle.weak,
        };
        if count == MOST {
            return Ok(is_sent);
        }
        if count == 0 && strength == Strength::Strong {
            let is_manager = self.is_manager;
            match self.counts()?.add_strong_handle(is_manager, is_sent) {
                Some(tell) => self.is_queued |= tell && !self.owner_is_dead,
                None if fault == Fault::WeakBecomesStrong => self.counts()?.strong_handles += 1,
                None => return Ok(false),
            }
        }
        if count == 0 && strength == Strength::Weak {
            // `Node::add_weak_handle()`.
            let is_known = self.counts()?.weak.has;
            self.is_queued |= is_sent && !is_known;
        }
        if !handle.exists() {
            self.counts()?.add_handle();
        }
        match strength {
            Strength::Strong => self.handles[who].strong += 1,
            Strength::Weak => self.handles[who].weak += 1,
        }
        Ok(true)
    }

    /// `Node::remove_handle()`.
    fn remove_handle(&mut self, strength: Strength, fault: Fault) -> Checked {
        checked(|counts| counts.remove_handle(strength), self.counts()?)?;
        self.settle(strength, fault)
    }

    /// The owner is returned this.
    fn hear(&mut self, news: News) -> Checked {
        if news.increfs && self.owner_has_weak || news.acquire && self.owner_has_strong {
            return Err("the owner is told what it knows");
        }
        if news.release && !self.owner_has_strong || news.decrefs && !self.owner_has_weak {
            return Err("the owner is told of an end that had no beginning");
        }
        if news.release && self.owes_strong || news.decrefs && self.owes_weak {
            return Err("the owner is told of the end before it has acknowledged the beginning");
        }
        if news.release && self.has_strong() || news.decrefs && self.has_any() {
            return Err("the owner may let go of an object that is referred to");
        }
        self.owner_has_strong = (self.owner_has_strong | news.acquire) & !news.release;
        self.owner_has_weak = (self.owner_has_weak | news.increfs) & !news.decrefs;
        self.owes_strong |= news.acquire;
        self.owes_weak |= news.increfs;
        Ok(())
    }

    /// Whether somebody other than the owner refers to the object strongly.
    fn has_strong(&self) -> bool {
        self.holds > 0 || self.handles.iter().any(|handle| handle.strong > 0)
    }

    /// Whether anybody does at all.
    fn has_any(&self) -> bool {
        self.holds > 0 || self.transfers > 0 || self.handles.iter().any(|handle| handle.exists())
    }

    fn check(&self) -> Checked {
        let Some(counts) = self.counts else {
            return match self.has_any() || self.is_manager {
                true => Err("the node is gone, and somebody refers to it"),
                false if self.owner_has_strong || self.owner_has_weak => {
                    Err("the node is gone, and its owner believes that it is referred to")
                }
                false => Ok(()),
            };
        };
        let strong_handles = self
            .handles
            .iter()
            .filter(|handle| handle.strong > 0)
            .count() as u32;
        let handles = self.handles.iter().filter(|handle| handle.exists());
        let handles = handles.count() as u32;
        if counts.strong_handles != strong_handles || counts.handles != handles {
            return Err("handles are not those that are counted");
        }
        if self.owner_is_dead {
            return Ok(());
        }
        let held = u32::from(self.is_manager);
        let strong = held + u32::from(self.holds) + u32::from(self.owes_strong);
        let weak = held + u32::from(self.transfers) + u32::from(self.owes_weak);
        if (counts.local_strong, counts.local_weak) != (strong, weak) {
            return Err("references are not those that are counted");
        }
        if self.is_manager {
            return Ok(());
        }
        if self.has_strong() && !self.owner_has_strong && !self.is_queued {
            return Err("the owner is not told of a strong reference");
        }
        // Nobody has anything left to do, but for the owner's acknowledgements.
        let is_quiet = !self.has_any() && !self.is_queued && !self.owes_strong && !self.owes_weak;
        if is_quiet {
            return Err("a node that nobody refers to stays");
        }
        Ok(())
    }
}

const STRENGTHS: [Strength; 2] = [Strength::Strong, Strength::Weak];

fn steps() -> Vec<Step> {
    let mut steps = vec![
        Step::Transfer,
        Step::BecomeManager,
        Step::Sent,
        Step::Free,
        Step::Read,
        Step::OwnerDies,
    ];
    steps.extend(STRENGTHS.map(Step::Acknowledge));
    for who in 0..LISTENERS {
        steps.extend([Step::Hold(who), Step::ListenerDies(who)]);
        for strength in STRENGTHS {
            steps.extend([
                Step::Insert(who, strength),
                Step::Increment(who, strength),
                Step::Decrement(who, strength),
            ]);
        }
    }
    steps
}

/// Tries everything. How many states there are; or the shortest way to one that must not be.
fn explore(fault: Fault) -> Result<usize, (&'static str, Vec<Step>)> {
    let start = State::default();
    let steps = steps();
    let mut known: HashMap<State, Option<(State, Step)>> = HashMap::from([(start, None)]);
    let mut queue = VecDeque::from([start]);
    while let Some(state) = queue.pop_front() {
        for &step in &steps {
            let next = state.after(step, fault).and_then(|next| {
                next.as_ref().map_or(Ok(()), State::check)?;
                Ok(next)
            });
            match next {
                Ok(Some(next)) => {
                    known.entry(next).or_insert_with(|| {
                        queue.push_back(next);
                        Some((state, step))
                    });
                }
                Ok(None) => {}
                Err(what) => {
                    let mut way = vec![step];
                    let mut at = state;
                    while let Some((before, step)) = known[&at] {
                        way.push(step);
                        at = before;
                    }
                    way.reverse();
                    return Err((what, way));
                }
            }
        }
    }
    Ok(known.len())
}

#[test]
fn no_order_of_steps_miscounts() {
    let states = explore(Fault::None);
    println!("{states:?} states");
    // All of it has been tried.
    assert!(
        states.is_ok_and(|states| states > 15_000),
        "{:?}",
        explore(Fault::None)
    );
}

#[test]
fn each_fault_is_found() {
    // Counts below 0 are caught, and need not be told of.
    std::panic::set_hook(Box::new(|_| ()));
    let found = [
        Fault::NoReferenceUntilDone,
        Fault::AnyDoneCounts,
        Fault::NoHold,
        Fault::ManagerIsNotHeld,
        Fault::WeakBecomesStrong,
        Fault::LastIsNotTold,
        Fault::GoesUntold,
        Fault::DeathForgetsStrong,
        Fault::SettlesForTheDead,
    ]
    .map(|fault| (fault, explore(fault)));
    let _ = std::panic::take_hook();
    for (fault, result) in found {
        println!("{fault:?}: {result:?}");
        assert!(result.is_err(), "{fault:?} was not found");
    }
}

/// A count that has come to its end stays there: what is left then is not too little.
#[test]
fn counts_have_an_end() {
    for strength in STRENGTHS {
        let mut counts = Counts {
            local_strong: u32::MAX - 1,
            local_weak: u32::MAX - 1,
            strong_handles: u32::MAX - 1,
            handles: u32::MAX - 1,
            ..Counts::default()
        };
        for _ in 0..2 {
            counts.hold(strength);
            counts.add_handle();
            assert_eq!(counts.add_strong_handle(false, false), Some(false));
        }
        for _ in 0..9 {
            counts.let_go(strength);
            counts.remove_handle(strength);
        }
        let (local, handles) = match strength {
            Strength::Strong => (counts.local_strong, counts.strong_handles),
            Strength::Weak => (counts.local_weak, counts.handles),
        };
        assert_eq!((local, handles), (u32::MAX, u32::MAX));
    }
}
