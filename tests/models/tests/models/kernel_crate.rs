// SPDX-License-Identifier: GPL-2.0

//! What the sources use of the kernel crate.

/// The prelude: errors, vectors and flags.
pub(crate) mod prelude {
    use crate::machine;
    use std::ops::{BitOr, Deref, DerefMut};

    pub(crate) use std::pin::Pin;

    pub(crate) type Result<T = (), E = Error> = core::result::Result<T, E>;
    pub(crate) type KBox<T> = Box<T>;
    pub(crate) type KVVec<T> = KVec<T>;

    macro_rules! fmt_arguments {
        ($($arg:tt)*) => { format_args!($($arg)*) };
    }
    pub(crate) use fmt_arguments as fmt;

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct Error(i32);

    impl Error {
        pub(crate) const fn of(errno: i32) -> Self {
            Self(-errno)
        }

        pub(crate) fn to_errno(self) -> i32 {
            self.0
        }
    }

    pub(crate) const ENOENT: Error = Error::of(2);
    pub(crate) const ESRCH: Error = Error::of(3);
    pub(crate) const EINTR: Error = Error::of(4);
    pub(crate) const EPERM: Error = Error::of(1);
    pub(crate) const EAGAIN: Error = Error::of(11);
    pub(crate) const ENOMEM: Error = Error::of(12);
    pub(crate) const EACCES: Error = Error::of(13);
    pub(crate) const EFAULT: Error = Error::of(14);
    pub(crate) const EBUSY: Error = Error::of(16);
    pub(crate) const ENODEV: Error = Error::of(19);
    pub(crate) const EINVAL: Error = Error::of(22);
    pub(crate) const ETXTBSY: Error = Error::of(26);
    pub(crate) const EDEADLK: Error = Error::of(35);
    pub(crate) const EOPNOTSUPP: Error = Error::of(95);

    /// Flags of an allocation: what matters of them is whether it may sleep.
    #[derive(Clone, Copy)]
    pub(crate) struct Flags {
        sleeps: bool,
    }

    impl Flags {
        pub(super) fn check(self) {
            if self.sleeps {
                machine::might_sleep("allocates");
            }
        }
    }

    impl BitOr for Flags {
        type Output = Self;

        fn bitor(self, other: Self) -> Self {
            Self {
                sleeps: self.sleeps || other.sleeps,
            }
        }
    }

    pub(crate) const GFP_KERNEL: Flags = Flags { sleeps: true };
    pub(crate) const GFP_ATOMIC: Flags = Flags { sleeps: false };
    pub(crate) const __GFP_NOWARN: Flags = Flags { sleeps: false };

    pub(crate) struct KVec<T>(Vec<T>);

    impl<T> KVec<T> {
        pub(crate) const fn new() -> Self {
            Self(Vec::new())
        }

        pub(crate) fn with_capacity(capacity: usize, flags: Flags) -> Result<Self> {
            flags.check();
            Ok(Self(Vec::with_capacity(capacity)))
        }

        pub(crate) fn push(&mut self, value: T, flags: Flags) -> Result {
            if self.0.len() == self.0.capacity() {
                flags.check();
            }
            self.0.push(value);
            Ok(())
        }

        pub(crate) fn push_within_capacity(&mut self, value: T) -> Result<(), T> {
            if self.0.len() == self.0.capacity() {
                return Err(value);
            }
            self.0.push(value);
            Ok(())
        }

        pub(crate) fn pop(&mut self) -> Option<T> {
            self.0.pop()
        }

        pub(crate) fn capacity(&self) -> usize {
            self.0.capacity()
        }

        pub(crate) fn truncate(&mut self, len: usize) {
            self.0.truncate(len);
        }

        pub(crate) fn clear(&mut self) {
            self.0.clear();
        }

        pub(crate) fn retain(&mut self, keep: impl FnMut(&mut T) -> bool) {
            self.0.retain_mut(keep);
        }
    }

    impl<T> Deref for KVec<T> {
        type Target = [T];

        fn deref(&self) -> &[T] {
            &self.0
        }
    }

    impl<T> DerefMut for KVec<T> {
        fn deref_mut(&mut self) -> &mut [T] {
            &mut self.0
        }
    }

    impl<'a, T> IntoIterator for &'a KVec<T> {
        type Item = &'a T;
        type IntoIter = std::slice::Iter<'a, T>;

        fn into_iter(self) -> Self::IntoIter {
            self.0.iter()
        }
    }

    impl<'a, T> IntoIterator for &'a mut KVec<T> {
        type Item = &'a mut T;
        type IntoIter = std::slice::IterMut<'a, T>;

        fn into_iter(self) -> Self::IntoIter {
            self.0.iter_mut()
        }
    }
}

/// Trees, as vectors in order: they have few elements here.
pub(crate) mod rbtree {
    use super::prelude::{Flags, Result};
    use std::marker::PhantomData;

    pub(crate) struct RBTree<K, V>(Vec<(K, V)>);

    pub(crate) struct RBTreeNode<K, V>(K, V);

    impl<K, V> RBTreeNode<K, V> {
        pub(crate) fn new(key: K, value: V, flags: Flags) -> Result<Self> {
            flags.check();
            Ok(Self(key, value))
        }

        /// Drops what is in the node.
        pub(crate) fn into_reservation(self) -> RBTreeNodeReservation<K, V> {
            RBTreeNodeReservation(PhantomData)
        }

        pub(crate) fn to_key_value(self) -> (K, V) {
            (self.0, self.1)
        }
    }

    pub(crate) struct RBTreeNodeReservation<K, V>(PhantomData<(K, V)>);

    impl<K, V> RBTreeNodeReservation<K, V> {
        pub(crate) fn new(flags: Flags) -> Result<Self> {
            flags.check();
            Ok(Self(PhantomData))
        }

        pub(crate) fn into_node(self, key: K, value: V) -> RBTreeNode<K, V> {
            RBTreeNode(key, value)
        }
    }

    pub(crate) struct Cursor<'a, K, V> {
        nodes: &'a [(K, V)],
        at: usize,
    }

    impl<'a, K, V> Cursor<'a, K, V> {
        pub(crate) fn current(&self) -> (&'a K, &'a V) {
            pair(&self.nodes[self.at])
        }

        pub(crate) fn peek_next(&self) -> Option<(&'a K, &'a V)> {
            self.nodes.get(self.at + 1).map(pair)
        }

        pub(crate) fn peek_prev(&self) -> Option<(&'a K, &'a V)> {
            Some(pair(&self.nodes[self.at.checked_sub(1)?]))
        }
    }

    pub(crate) struct CursorMut<'a, K, V> {
        nodes: &'a mut Vec<(K, V)>,
        at: usize,
    }

    impl<K, V> CursorMut<'_, K, V> {
        pub(crate) fn current_mut(&mut self) -> (&K, &mut V) {
            let (key, value) = &mut self.nodes[self.at];
            (key, value)
        }

        pub(crate) fn move_next(self) -> Option<Self> {
            let at = self.at + 1;
            (at < self.nodes.len()).then_some(Self { at, ..self })
        }

        pub(crate) fn peek_next(&self) -> Option<(&K, &V)> {
            self.nodes.get(self.at + 1).map(pair)
        }

        pub(crate) fn peek_prev(&self) -> Option<(&K, &V)> {
            Some(pair(&self.nodes[self.at.checked_sub(1)?]))
        }

        pub(crate) fn remove_current(self) -> (Option<Self>, RBTreeNode<K, V>) {
            let (key, value) = self.nodes.remove(self.at);
            (None, RBTreeNode(key, value))
        }

        pub(crate) fn remove_prev(&mut self) -> Option<RBTreeNode<K, V>> {
            self.at = self.at.checked_sub(1)?;
            let (key, value) = self.nodes.remove(self.at);
            Some(RBTreeNode(key, value))
        }
    }

    fn pair<K, V>((key, value): &(K, V)) -> (&K, &V) {
        (key, value)
    }

    impl<K: Ord, V> RBTree<K, V> {
        pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
            self.0.iter().map(pair)
        }

        pub(crate) fn new() -> Self {
            Self(Vec::new())
        }

        fn lower_bound(&self, key: &K) -> usize {
            self.0.partition_point(|(other, _)| other < key)
        }

        fn find(&self, key: &K) -> Option<usize> {
            self.0.binary_search_by(|(other, _)| other.cmp(key)).ok()
        }

        fn cursor(&self, at: usize) -> Option<Cursor<'_, K, V>> {
            (at < self.0.len()).then_some(Cursor { nodes: &self.0, at })
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        pub(crate) fn insert(&mut self, node: RBTreeNode<K, V>) -> Option<RBTreeNode<K, V>> {
            let old = self.remove_node(&node.0);
            let at = self.lower_bound(&node.0);
            self.0.insert(at, (node.0, node.1));
            old
        }

        pub(crate) fn get(&self, key: &K) -> Option<&V> {
            self.find(key).map(|at| &self.0[at].1)
        }

        pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
            self.find(key).map(|at| &mut self.0[at].1)
        }

        pub(crate) fn remove_node(&mut self, key: &K) -> Option<RBTreeNode<K, V>> {
            let (key, value) = self.0.remove(self.find(key)?);
            Some(RBTreeNode(key, value))
        }

        pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
            self.remove_node(key).map(|node| node.1)
        }

        pub(crate) fn cursor_front(&self) -> Option<Cursor<'_, K, V>> {
            self.cursor(0)
        }

        pub(crate) fn cursor_back(&self) -> Option<Cursor<'_, K, V>> {
            self.cursor(self.0.len().checked_sub(1)?)
        }

        pub(crate) fn cursor_lower_bound(&self, key: &K) -> Option<Cursor<'_, K, V>> {
            self.cursor(self.lower_bound(key))
        }

        pub(crate) fn cursor_lower_bound_mut(&mut self, key: &K) -> Option<CursorMut<'_, K, V>> {
            let at = self.lower_bound(key);
            (at < self.0.len()).then_some(CursorMut {
                nodes: &mut self.0,
                at,
            })
        }
    }
}

/// Reference counts and atomics.
pub(crate) mod sync {
    use super::prelude::{Flags, Result};
    use std::ops::Deref;

    pub(crate) struct Arc<T>(std::sync::Arc<T>);

    impl<T> Arc<T> {
        pub(crate) fn new(value: T, flags: Flags) -> Result<Self> {
            flags.check();
            Ok(Self(std::sync::Arc::new(value)))
        }

        pub(crate) fn pin_init(value: T, flags: Flags) -> Result<Self> {
            Self::new(value, flags)
        }
    }

    impl<T> Clone for Arc<T> {
        fn clone(&self) -> Self {
            Self(self.0.clone())
        }
    }

    impl<T> Deref for Arc<T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.0
        }
    }

    pub(crate) mod aref {
        use std::ops::Deref;

        /// A reference to an object that is nothing but its identity here.
        #[derive(Clone)]
        pub(crate) struct ARef<T>(T);

        impl<T: Clone> From<&T> for ARef<T> {
            fn from(object: &T) -> Self {
                Self(object.clone())
            }
        }

        impl<T> Deref for ARef<T> {
            type Target = T;

            fn deref(&self) -> &T {
                &self.0
            }
        }
    }

    pub(crate) mod atomic {
        use loom::{
            lazy_static::Lazy,
            sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
        };
        use std::marker::PhantomData;

        #[expect(non_upper_case_globals, reason = "as in the kernel crate")]
        pub(crate) const Relaxed: Ordering = Ordering::Relaxed;
        #[expect(non_upper_case_globals, reason = "as in the kernel crate")]
        pub(crate) const Acquire: Ordering = Ordering::Acquire;
        #[expect(non_upper_case_globals, reason = "as in the kernel crate")]
        pub(crate) const Release: Ordering = Ordering::Release;
        #[expect(non_upper_case_globals, reason = "as in the kernel crate")]
        pub(crate) const Full: Ordering = Ordering::SeqCst;

        /// The atomic of loom for a type. An atomic of the module is a `static`, each execution of a
        /// model has its own.
        pub(crate) trait Number: Copy + 'static {
            type Loom;

            fn zero() -> Self::Loom;
        }

        pub(crate) struct Atomic<T: Number>(Lazy<T::Loom>);

        impl<T: Number> Atomic<T> {
            /// All begin with zero.
            pub(crate) const fn new(_zero: T) -> Self {
                Self(Lazy {
                    init: T::zero,
                    _p: PhantomData,
                })
            }
        }

        macro_rules! number {
            ($type:ty, $loom:ty) => {
                impl Number for $type {
                    type Loom = $loom;

                    fn zero() -> $loom {
                        <$loom>::new(0)
                    }
                }

                impl Atomic<$type> {
                    pub(crate) fn load(&'static self, ordering: Ordering) -> $type {
                        self.0.get().load(ordering)
                    }

                    pub(crate) fn add(&'static self, value: $type, ordering: Ordering) {
                        self.fetch_add(value, ordering);
                    }

                    pub(crate) fn fetch_add(
                        &'static self,
                        value: $type,
                        ordering: Ordering,
                    ) -> $type {
                        self.0.get().fetch_add(value, ordering)
                    }

                    pub(crate) fn fetch_sub(
                        &'static self,
                        value: $type,
                        ordering: Ordering,
                    ) -> $type {
                        self.0.get().fetch_sub(value, ordering)
                    }
                }
            };
        }

        number!(u32, AtomicU32);
        number!(usize, AtomicUsize);

        impl Number for bool {
            type Loom = AtomicBool;

            fn zero() -> AtomicBool {
                AtomicBool::new(false)
            }
        }

        impl Atomic<bool> {
            pub(crate) fn load(&'static self, ordering: Ordering) -> bool {
                self.0.get().load(ordering)
            }

            pub(crate) fn store(&'static self, value: bool, ordering: Ordering) {
                self.0.get().store(value, ordering);
            }

            pub(crate) fn xchg(&'static self, value: bool, ordering: Ordering) -> bool {
                self.0.get().swap(value, ordering)
            }
        }
    }
}

pub(crate) mod mm {
    /// An address space, by its number.
    #[derive(Clone)]
    pub(crate) struct Mm(pub(crate) usize);
}

pub(crate) mod page {
    pub(crate) const PAGE_SHIFT: usize = 12;
    pub(crate) const PAGE_SIZE: usize = 1 << PAGE_SHIFT;
}

pub(crate) mod str {
    pub(crate) use core::ffi::CStr;
}

pub(crate) mod ffi {
    pub(crate) use core::ffi::{c_int, c_uint};
}
