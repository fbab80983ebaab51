// SPDX-License-Identifier: GPL-2.0

//! A height-balanced (AVL) binary tree over slots that somebody else keeps.
//!
//! The order is given by a closure, so one slot type can be in trees of different order, or by who
//! knows a neighbour. Slots refer to their parents: removing one needs no search, and adding one
//! beside its neighbour neither. The depth is bounded by the balance and not by chance, so nobody
//! can degrade a tree by choosing keys.

use super::slab::NONE;

/// The links of a slot that is in a tree.
#[derive(Clone, Copy)]
pub(super) struct Node {
    left: u32,
    right: u32,
    parent: u32,
    /// By how much the right subtree is higher than the left one: -1, 0, or 1.
    balance: i8,
}

impl Node {
    /// The links of a slot that is in no tree.
    pub(super) const NONE: Self = Self {
        left: NONE,
        right: NONE,
        parent: NONE,
        balance: 0,
    };

    /// The child on one side, or [`NONE`].
    #[inline]
    pub(super) fn child(&self, right: bool) -> u32 {
        if right {
            self.right
        } else {
            self.left
        }
    }
}

/// Something that has slots with a [`Node`] each.
pub(super) trait Nodes {
    /// The links of slot `index`; [`None`] for [`NONE`].
    fn node(&self, index: u32) -> Option<&Node>;
    /// The links of slot `index`, to change them; [`None`] for [`NONE`].
    fn node_mut(&mut self, index: u32) -> Option<&mut Node>;
}

/// The root of a tree.
pub(super) struct Tree {
    root: u32,
}

impl Tree {
    /// An empty tree.
    pub(super) const fn new() -> Self {
        Self { root: NONE }
    }

    /// The index of the root, or [`NONE`].
    #[inline]
    pub(super) fn root(&self) -> u32 {
        self.root
    }

    /// Whether slot `index`, which has the links `node`, is the only one of the tree, so that its key
    /// may be changed in place.
    #[inline]
    pub(super) fn is_only(&self, index: u32, node: &Node) -> bool {
        self.root == index && node.left == NONE && node.right == NONE
    }

    /// Adds slot `index`, which is in no tree. `after(nodes, other)` says whether its place is
    /// after `other`.
    pub(super) fn insert<N: Nodes>(
        &mut self,
        nodes: &mut N,
        index: u32,
        after: impl Fn(&N, u32) -> bool,
    ) {
        let (mut parent, mut right) = (NONE, false);
        let mut at = self.root;
        while let Some(node) = nodes.node(at) {
            right = after(nodes, at);
            parent = at;
            at = node.child(right);
        }
        self.attach(nodes, index, parent, right);
    }

    /// Removes slot `index`, which is in the tree.
    pub(super) fn remove(&mut self, nodes: &mut impl Nodes, index: u32) {
        let Some(&removed) = nodes.node(index) else {
            return;
        };
        if removed.left == NONE || removed.right == NONE {
            let child = removed.child(removed.left == NONE);
            let right = self.replace(nodes, removed.parent, index, child);
            self.shrunk(nodes, removed.parent, right);
            return;
        }

        // The next slot in order takes the place. It has no left child.
        let mut successor = removed.right;
        let mut moved = removed;
        while let Some(&node) = nodes.node(successor) {
            moved = node;
            if node.left == NONE {
                break;
            }
            successor = node.left;
        }
        let right = self.replace(nodes, moved.parent, successor, moved.right);
        let child = if moved.parent == index {
            moved.right
        } else {
            removed.right
        };
        if let Some(node) = nodes.node_mut(successor) {
            *node = Node {
                right: child,
                ..removed
            };
        }
        set_parent(nodes, removed.left, successor);
        set_parent(nodes, child, successor);
        self.replace(nodes, removed.parent, index, successor);
        let lowest = if moved.parent == index {
            successor
        } else {
            moved.parent
        };
        self.shrunk(nodes, lowest, right);
    }

    /// Checks links, balance and order. Returns the number of slots in the tree.
    #[cfg(any(test, rust_ipc_kunit))]
    pub(super) fn check(
        &self,
        nodes: &impl Nodes,
        before: impl Fn(u32, u32) -> bool,
    ) -> Result<u32, &'static str> {
        let node = |index| nodes.node(index).copied().unwrap_or(Node::NONE);
        let height = |mut index| {
            // The higher side, all the way down.
            let mut height = 0;
            while index != NONE {
                height += 1;
                index = node(index).child(node(index).balance > 0);
            }
            height
        };
        let (mut count, mut last, mut at) = (0, NONE, self.root);
        if node(at).parent != NONE {
            return Err("the root of a tree has a parent");
        }
        // In order: down to the left, and where there is no right child, up from the left.
        while at != NONE {
            while node(at).left != NONE {
                at = node(at).left;
            }
            loop {
                let Node {
                    left,
                    right,
                    balance,
                    ..
                } = node(at);
                if height(right) - height(left) != i32::from(balance) || balance.abs() > 1 {
                    return Err("a tree is out of balance");
                }
                if [left, right]
                    .iter()
                    .any(|child| *child != NONE && node(*child).parent != at)
                {
                    return Err("a child has another parent");
                }
                if last != NONE && !before(last, at) {
                    return Err("a tree is out of order");
                }
                last = at;
                count += 1;
                if right != NONE {
                    at = right;
                    break;
                }
                while node(at).parent != NONE && node(node(at).parent).right == at {
                    at = node(at).parent;
                }
                at = node(at).parent;
                if at == NONE {
                    break;
                }
            }
        }
        Ok(count)
    }

    /// Makes slot `index`, which is in no tree, a child of `parent`, which has none on that side; or
    /// the root, if `parent` is [`NONE`] and the tree empty.
    pub(super) fn attach(&mut self, nodes: &mut impl Nodes, index: u32, parent: u32, right: bool) {
        if let Some(node) = nodes.node_mut(index) {
            *node = Node {
                parent,
                ..Node::NONE
            };
        }
        if parent == NONE {
            self.root = index;
            return;
        }
        set_child(nodes, parent, right, index);
        self.grown(nodes, parent, right);
    }

    /// Puts `new` where `old` is below `parent`. Says whether that is on the right.
    fn replace(&mut self, nodes: &mut impl Nodes, parent: u32, old: u32, new: u32) -> bool {
        let right = match nodes.node_mut(parent) {
            Some(node) if node.left == old => {
                node.left = new;
                false
            }
            Some(node) => {
                node.right = new;
                true
            }
            None => {
                self.root = new;
                false
            }
        };
        set_parent(nodes, new, parent);
        right
    }

    /// Restores the balance from `at` up, whose subtree on one side has become higher by one.
    fn grown(&mut self, nodes: &mut impl Nodes, mut at: u32, mut right: bool) {
        while let Some(node) = nodes.node_mut(at) {
            let balance = node.balance + if right { 1 } else { -1 };
            if balance.abs() > 1 {
                self.rebalance(nodes, at, right);
                return;
            }
            node.balance = balance;
            if balance == 0 {
                return;
            }
            let parent = node.parent;
            right = child(nodes, parent, true) == at;
            at = parent;
        }
    }

    /// Restores the balance from `at` up, whose subtree on one side has become lower by one.
    fn shrunk(&mut self, nodes: &mut impl Nodes, mut at: u32, mut right: bool) {
        while let Some(node) = nodes.node_mut(at) {
            let balance = node.balance + if right { -1 } else { 1 };
            let mut top = at;
            if balance.abs() > 1 {
                let is_lower;
                (top, is_lower) = self.rebalance(nodes, at, !right);
                if !is_lower {
                    return;
                }
            } else {
                node.balance = balance;
                if balance != 0 {
                    return;
                }
            }
            let parent = nodes.node(top).map_or(NONE, |node| node.parent);
            right = child(nodes, parent, true) == top;
            at = parent;
        }
    }

    /// Rotates at `at`, whose subtree on the side `right` is higher by two than the other. Returns
    /// what is in its place then, and whether that is lower than `at` was.
    fn rebalance(&mut self, nodes: &mut impl Nodes, at: u32, right: bool) -> (u32, bool) {
        let sign = if right { 1 } else { -1 };
        let side = child(nodes, at, right);
        let side_balance = balance(nodes, side);
        if side_balance == -sign {
            let inner = child(nodes, side, !right);
            let inner_balance = balance(nodes, inner);
            self.rotate(nodes, side, !right);
            self.rotate(nodes, at, right);
            set_balance(nodes, at, if inner_balance == sign { -sign } else { 0 });
            set_balance(nodes, side, if inner_balance == -sign { sign } else { 0 });
            set_balance(nodes, inner, 0);
            return (inner, true);
        }
        self.rotate(nodes, at, right);
        let is_lower = side_balance != 0;
        set_balance(nodes, at, if is_lower { 0 } else { sign });
        set_balance(nodes, side, if is_lower { 0 } else { -sign });
        (side, is_lower)
    }

    /// Puts the child of `index` on the side `right` in its place.
    fn rotate(&mut self, nodes: &mut impl Nodes, index: u32, right: bool) {
        let parent = nodes.node(index).map_or(NONE, |node| node.parent);
        let top = child(nodes, index, right);
        let middle = child(nodes, top, !right);
        set_child(nodes, index, right, middle);
        set_parent(nodes, middle, index);
        self.replace(nodes, parent, index, top);
        set_child(nodes, top, !right, index);
        set_parent(nodes, index, top);
    }
}

fn child(nodes: &impl Nodes, index: u32, right: bool) -> u32 {
    nodes.node(index).map_or(NONE, |node| node.child(right))
}

fn set_child(nodes: &mut impl Nodes, index: u32, right: bool, child: u32) {
    if let Some(node) = nodes.node_mut(index) {
        if right {
            node.right = child;
        } else {
            node.left = child;
        }
    }
}

fn set_parent(nodes: &mut impl Nodes, index: u32, parent: u32) {
    if let Some(node) = nodes.node_mut(index) {
        node.parent = parent;
    }
}

fn balance(nodes: &impl Nodes, index: u32) -> i8 {
    nodes.node(index).map_or(0, |node| node.balance)
}

fn set_balance(nodes: &mut impl Nodes, index: u32, balance: i8) {
    if let Some(node) = nodes.node_mut(index) {
        node.balance = balance;
    }
}
