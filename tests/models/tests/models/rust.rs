// SPDX-License-Identifier: GPL-2.0

//! What the sources use of `rust/` and of the rest of the module, with the same names.

#[path = "../../../../rust/small_vec.rs"]
pub(crate) mod small_vec;

/// Identities are numbers.
pub(crate) mod identity {
    use crate::{
        machine,
        mm::Mm,
        rust::vfs::Inode, //
    };

    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    pub(crate) struct InodeId(usize);

    impl InodeId {
        pub(crate) const FIRST: Self = Self(0);

        pub(crate) fn of(inode: &Inode) -> Self {
            Self(inode.number())
        }
    }

    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    pub(crate) struct FileId(pub(crate) usize);

    impl FileId {
        pub(crate) const FIRST: Self = Self(0);

        pub(crate) fn hash(self) -> u32 {
            self.0 as u32
        }
    }

    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    pub(crate) struct MmId(pub(crate) usize);

    impl MmId {
        pub(crate) fn of(mm: &Mm) -> Self {
            Self(mm.0)
        }
    }

    /// As no model has two threads of a process break leases, the process will do.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    pub(crate) struct TaskId(usize);

    impl TaskId {
        pub(crate) fn current() -> Self {
            Self(machine::process())
        }
    }

    #[derive(PartialEq, Debug)]
    pub(crate) struct ThreadGroup(usize);

    impl ThreadGroup {
        pub(crate) fn current() -> Option<Self> {
            Some(Self(machine::process()))
        }

        pub(crate) fn is_current(&self) -> bool {
            self.0 == machine::process()
        }
    }
}

pub(crate) mod vfs {
    use crate::machine::machine;
    use std::{
        marker::PhantomData,
        ops::{Deref, Range},
        sync::atomic::Ordering::SeqCst,
    };

    #[derive(Clone, Debug)]
    pub(crate) struct Inode(usize);

    impl Inode {
        pub(crate) const fn numbered(number: usize) -> Self {
            Self(number)
        }

        pub(crate) fn number(&self) -> usize {
            self.0
        }

        pub(crate) fn ino(&self) -> usize {
            self.0
        }

        pub(crate) fn dev(&self) -> u32 {
            0
        }

        pub(crate) fn is_regular(&self) -> bool {
            true
        }

        pub(crate) fn is_immutable(&self) -> bool {
            machine().immutable.load(SeqCst)
        }

        pub(crate) fn is_append_only(&self) -> bool {
            false
        }

        pub(crate) fn tag_dirty(&self, _pages: &Range<u64>) {}
    }

    pub(crate) trait FileSystem {}

    /// An inode of a file system.
    pub(crate) struct FsInode<F>(pub(crate) &'static Inode, pub(crate) PhantomData<F>);

    impl<F> Deref for FsInode<F> {
        type Target = Inode;

        fn deref(&self) -> &Inode {
            self.0
        }
    }

    pub(crate) mod errno {
        use crate::prelude::*;

        pub(crate) fn enolck() -> Error {
            Error::of(37)
        }

        pub(crate) fn eopnotsupp() -> Error {
            EOPNOTSUPP
        }

        pub(crate) fn edeadlk() -> Error {
            EDEADLK
        }
    }
}

/// The lock of the registry. One that is taken while another spin lock is held is in order: the
/// registry's is the innermost.
pub(crate) mod irq {
    use crate::machine;
    use loom::{
        lazy_static::Lazy,
        sync::{Mutex, MutexGuard},
    };
    use std::{
        marker::PhantomData,
        ops::{Deref, DerefMut},
    };

    pub(crate) struct IrqLock<T>(Lazy<Mutex<T>>);

    impl<T: Default + 'static> IrqLock<T> {
        /// What it is initialised with has to be the default.
        pub(crate) const fn new(_name: &'static core::ffi::CStr, data: T) -> Self {
            core::mem::forget(data);
            Self(Lazy {
                init: || Mutex::new(T::default()),
                _p: PhantomData,
            })
        }

        pub(crate) fn lock(&'static self) -> IrqGuard<T> {
            let guard = self.0.get().lock().unwrap();
            machine::spins(true);
            IrqGuard(guard)
        }
    }

    pub(crate) struct IrqGuard<T: 'static>(MutexGuard<'static, T>);

    impl<T> Deref for IrqGuard<T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.0
        }
    }

    impl<T> DerefMut for IrqGuard<T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.0
        }
    }

    impl<T> Drop for IrqGuard<T> {
        fn drop(&mut self) {
            machine::spins(false);
        }
    }
}

pub(crate) mod work {
    use crate::{machine, prelude::*};
    use std::marker::PhantomData;

    pub(crate) trait Job: 'static {
        fn run();
    }

    pub(crate) struct Deferred<J>(PhantomData<fn(J)>);

    impl<J: Job> Deferred<J> {
        pub(crate) const fn new() -> Self {
            Self(PhantomData)
        }

        pub(crate) fn arm(&'static self) -> Result<Armed<J>> {
            Ok(Armed(PhantomData))
        }

        pub(crate) fn run_after(&'static self, _msecs: u32) {
            machine::later(J::run);
        }

        pub(crate) fn run_soon(&'static self) {
            machine::on_return(J::run);
        }
    }

    pub(crate) struct Armed<J: Job>(PhantomData<J>);

    impl<J: Job> Drop for Armed<J> {
        fn drop(&mut self) {
            machine::cancel(J::run);
        }
    }
}

pub(crate) mod hook {
    use crate::{
        machine::{self, machine},
        prelude::*,
    };
    use loom::sync::Mutex;
    use std::{marker::PhantomData, sync::atomic::Ordering::SeqCst};

    pub(crate) trait Redirect: 'static {
        fn install();
    }

    pub(crate) struct Hook<R>(PhantomData<R>);

    impl<R: Redirect> Hook<R> {
        pub(crate) fn new() -> Result<Pin<KBox<Self>>> {
            R::install();
            Ok(Box::pin(Self(PhantomData)))
        }
    }

    pub(crate) trait Observe: 'static {
        fn install();
    }

    pub(crate) struct Observer {
        enabled: Mutex<bool>,
    }

    impl Observer {
        pub(crate) fn new<O: Observe>() -> Self {
            O::install();
            Self {
                enabled: Mutex::new(false),
            }
        }

        pub(crate) fn enable(&self) -> Result {
            machine::might_sleep("enables an observer");
            let mut enabled = self.enabled.lock().unwrap();
            if !*enabled {
                machine().observed.store(true, SeqCst);
                *enabled = true;
            }
            Ok(())
        }

        pub(crate) fn disable_if(&self, condition: impl FnOnce() -> bool) {
            machine::might_sleep("disables an observer");
            let mut enabled = self.enabled.lock().unwrap();
            if *enabled && condition() {
                machine().observed.store(false, SeqCst);
                *enabled = false;
            }
        }
    }

    pub(crate) fn optional<T>(hooks: Result<T>, _what: &str) -> Result<Option<T>> {
        hooks.map(Some)
    }
}

pub(crate) mod gup {
    use crate::{
        fs::File,
        machine::{
            self,
            machine, //
        },
        mm::Mm,
        prelude::*,
        rust::{
            hook::{
                Observe,
                Redirect, //
            },
            identity::{
                FileId,
                InodeId,
                MmId, //
            },
            small_vec::SmallVec,
            vfs::Inode, //
        },
        sync::{
            aref::ARef,
            Arc, //
        }, //
    };
    use std::{marker::PhantomData, ops::Range, sync::atomic::Ordering::SeqCst};

    /// Keeps the file. Dropping it may sleep.
    pub(crate) struct PathRef(&'static Inode);

    impl PathRef {
        fn of(inode: &'static Inode) -> Self {
            machine().paths.fetch_add(1, SeqCst);
            Self(inode)
        }

        pub(crate) fn is_same(&self, other: &PathRef) -> bool {
            self.0.number() == other.0.number()
        }

        pub(crate) fn hold_write_access(&self) {}

        pub(crate) fn inode(&self) -> &Inode {
            self.0
        }
    }

    impl Drop for PathRef {
        fn drop(&mut self) {
            machine::might_sleep("drops a path");
            machine().paths.fetch_sub(1, SeqCst);
        }
    }

    pub(crate) struct Segment {
        pub(crate) pages: Range<usize>,
        pub(crate) file: Option<FileSegment>,
    }

    pub(crate) struct FileSegment {
        pub(crate) path: Arc<PathRef>,
        pub(crate) index: u64,
        pub(crate) is_shared: bool,
        pub(crate) can_be_huge: bool,
    }

    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Folio {
        pub(crate) inode: InodeId,
        pub(crate) index: u64,
        pub(crate) pfn: u64,
        pub(crate) order: u8,
    }

    impl Folio {
        pub(crate) fn of_frame(frame: usize, index: u64) -> Self {
            Self {
                inode: InodeId::of(&machine::INODE),
                index,
                pfn: frame as u64,
                order: 0,
            }
        }

        pub(crate) fn pages(&self) -> Range<u64> {
            self.index..self.index + (1 << self.order)
        }
    }

    /// Folios that are given back alike: one, as pages are given back one by one.
    pub(crate) struct Span {
        folio: Folio,
        pub(crate) refs: u64,
    }

    impl Span {
        pub(crate) fn of(folio: Folio) -> Self {
            Self { folio, refs: 1 }
        }

        pub(crate) fn inode(&self) -> InodeId {
            self.folio.inode
        }

        pub(crate) fn len(&self) -> u64 {
            1
        }

        pub(crate) fn folio(&self, _n: u64) -> Folio {
            self.folio
        }

        pub(crate) fn pins(&self, _n: u64) -> u64 {
            pins(self.folio.pfn)
        }
    }

    pub(crate) fn find_functions() -> Result {
        Ok(())
    }

    pub(crate) fn pins(pfn: u64) -> u64 {
        machine().memory.lock().unwrap().frames[pfn as usize].refs
    }

    /// A call that pins pages of the file for long.
    pub(crate) struct Request<'a> {
        pages: Range<usize>,
        frames: &'a mut [Option<usize>],
        kept: usize,
    }

    impl<'a> Request<'a> {
        /// For as many pages of the file as there is room for their frames.
        pub(crate) fn new(pages: Range<usize>, frames: &'a mut [Option<usize>]) -> Self {
            Self {
                pages,
                frames,
                kept: 0,
            }
        }

        pub(crate) fn kept(&self) -> usize {
            self.kept
        }

        pub(crate) fn count(&self) -> usize {
            self.pages.len()
        }

        pub(crate) fn is_write(&self) -> bool {
            true
        }

        pub(crate) fn mm(&self) -> ARef<Mm> {
            ARef::from(&Mm(machine::process()))
        }

        pub(crate) fn segments(&self, wanted: fn(&Inode) -> bool) -> Result<SmallVec<Segment>> {
            let mut segments = SmallVec::new();
            if wanted(&machine::INODE) {
                segments.push(Segment {
                    pages: 0..self.pages.len(),
                    file: Some(FileSegment {
                        path: Arc::new(PathRef::of(&machine::INODE), GFP_KERNEL)?,
                        index: self.pages.start as u64,
                        is_shared: true,
                        can_be_huge: false,
                    }),
                })?;
            }
            Ok(segments)
        }

        pub(crate) fn pin_ordinary(&mut self, _count: usize) -> Result<PinnedPages<'_>> {
            Err(EOPNOTSUPP)
        }

        pub(crate) fn pin_dax(
            &mut self,
            count: usize,
            _can_be_huge: bool,
        ) -> Result<PinnedPages<'_>> {
            machine::might_sleep("pins");
            let first = self.kept;
            for page in first..first + count {
                self.frames[page] = Some(machine::get_page(self.pages.start + page));
            }
            Ok(PinnedPages {
                frames: &mut self.frames[first..first + count],
                kept: &mut self.kept,
            })
        }

        pub(crate) fn unpin(&mut self) {
            unpin(&mut self.frames[..self.kept]);
            self.kept = 0;
        }
    }

    fn unpin(frames: &mut [Option<usize>]) {
        for frame in frames {
            if let Some(frame) = frame.take() {
                machine::unpin_page(frame);
            }
        }
    }

    /// Pages that a request has pinned and does not keep yet.
    pub(crate) struct PinnedPages<'a> {
        frames: &'a mut [Option<usize>],
        kept: &'a mut usize,
    }

    impl PinnedPages<'_> {
        pub(crate) fn len(&self) -> usize {
            self.frames.len()
        }

        pub(crate) fn folio(
            &self,
            page: usize,
            _wanted: fn(&Inode) -> bool,
        ) -> Option<(Folio, u64)> {
            let frame = self.frames[page]?;
            // Does not change as long as the page is pinned.
            let index = machine().memory.lock().unwrap().frames[frame].index;
            Some((Folio::of_frame(frame, index), index))
        }

        pub(crate) fn in_a_row(&self, pages: Range<usize>) -> usize {
            let first = pages.start;
            pages
                .take_while(|&page| {
                    self.frames[page] == self.frames[first].map(|frame| frame + (page - first))
                })
                .count()
        }

        pub(crate) fn clear_reserved(&self, _row: Range<usize>) {}

        pub(crate) fn keep(self) -> usize {
            let pinned = self.frames.len();
            *self.kept += pinned;
            core::mem::forget(self);
            pinned
        }
    }

    impl Drop for PinnedPages<'_> {
        fn drop(&mut self) {
            unpin(self.frames);
        }
    }

    pub(crate) trait LongtermPins: 'static {
        fn wanted() -> bool;
        fn pin(request: &mut Request<'_>) -> Result;
    }

    pub(crate) struct Longterm<P>(PhantomData<P>);

    impl<P: LongtermPins> Redirect for Longterm<P> {
        fn install() {
            machine().hooks.lock().unwrap().longterm = Some((P::wanted, P::pin));
        }
    }

    pub(crate) trait Unpins: 'static {
        fn wanted(inode: &Inode) -> bool;
        fn unpinning(span: &Span);
        fn closing(file: FileId);
    }

    pub(crate) struct Unpinned<U>(PhantomData<U>);

    impl<U: Unpins> Observe for Unpinned<U> {
        fn install() {
            let mut hooks = machine().hooks.lock().unwrap();
            hooks.unpinning = Some(U::unpinning);
            hooks.closing = Some(U::closing);
        }
    }

    pub(crate) fn caller_file() -> Option<(FileId, ARef<File>)> {
        let id = machine::file()?;
        Some((id, ARef::from(&File)))
    }

    pub(crate) fn caller_file_id() -> Option<FileId> {
        machine::file()
    }

    pub(crate) fn caller_mm() -> Option<ARef<Mm>> {
        machine::acting_for().map(|process| ARef::from(&Mm(process)))
    }

    pub(crate) fn caller_mm_id() -> Option<MmId> {
        machine::acting_for().map(MmId)
    }
}

pub(crate) mod uring {
    use crate::{
        machine::machine,
        rust::{
            hook::Redirect,
            identity::FileId, //
        }, //
    };
    use std::marker::PhantomData;

    pub(crate) trait Clones: 'static {
        fn wanted() -> bool;
        fn clone(to: FileId, from: FileId, original: impl FnOnce() -> i32) -> i32;
    }

    pub(crate) struct Cloned<C>(PhantomData<C>);

    impl<C: Clones> Redirect for Cloned<C> {
        fn install() {
            let clone = |to: FileId, from: FileId, original: &mut dyn FnMut() -> i32| {
                C::clone(to, from, original)
            };
            machine().hooks.lock().unwrap().cloned = Some((C::wanted, clone));
        }
    }
}

pub(crate) mod task {
    pub(crate) fn is_server() -> bool {
        false
    }
}

pub(crate) mod lock {
    use crate::{
        machine::{
            self,
            machine,
            INODE, //
        },
        prelude::*,
        rust::vfs::{
            FileSystem,
            FsInode,
            Inode, //
        }, //
    };
    use loom::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};
    use std::marker::PhantomData;

    pub(crate) trait ExclusiveInode {
        type Fs: FileSystem;
        fn inode(&self) -> &FsInode<Self::Fs>;
    }

    /// The invalidate lock of the file, shared.
    pub(crate) struct FaultLock(RwLockReadGuard<'static, ()>);

    impl FaultLock {
        pub(crate) fn new(_inode: &Inode) -> Self {
            machine::might_sleep("waits for the invalidate lock");
            Self(machine().invalidate.read().unwrap())
        }
    }

    /// Both locks of the file, exclusively.
    pub(crate) struct LayoutLock<'a, F> {
        inode: FsInode<F>,
        held: Option<(RwLockWriteGuard<'a, ()>, MutexGuard<'a, ()>)>,
    }

    impl<F: FileSystem> LayoutLock<'static, F> {
        pub(crate) fn new() -> Self {
            Self {
                inode: FsInode(&INODE, PhantomData),
                held: Some(Self::take()),
            }
        }

        fn take() -> (RwLockWriteGuard<'static, ()>, MutexGuard<'static, ()>) {
            let rwsem = machine().rwsem.lock().unwrap();
            (machine().invalidate.write().unwrap(), rwsem)
        }
    }

    impl<F: FileSystem> LayoutLock<'_, F> {
        pub(crate) fn unlocked<R>(&mut self, wait: impl FnOnce() -> Result<R>) -> Result<R> {
            self.held = None;
            let result = wait();
            self.held = Some(LayoutLock::<F>::take());
            result
        }
    }

    impl<F: FileSystem> ExclusiveInode for LayoutLock<'_, F> {
        type Fs = F;

        fn inode(&self) -> &FsInode<F> {
            &self.inode
        }
    }
}

pub(crate) mod dax {
    use crate::{
        machine::{
            self,
            machine,
            PAGES, //
        },
        page::PAGE_SHIFT,
        prelude::*,
        rust::{
            lock::LayoutLock,
            vfs::FileSystem, //
        }, //
    };
    use std::{marker::PhantomData, ops::Range};

    pub(crate) struct BusyPage<'a> {
        index: usize,
        frame: usize,
        _p: PhantomData<&'a ()>,
    }

    impl BusyPage<'_> {
        pub(crate) fn range<F: FileSystem>(&self, _lock: &LayoutLock<'_, F>) -> Range<u64> {
            (self.index as u64) << PAGE_SHIFT..(self.index as u64 + 1) << PAGE_SHIFT
        }

        pub(crate) fn is_mapped(&self) -> bool {
            machine().memory.lock().unwrap().mapped[self.index]
        }

        /// Without a limit of time: what ends by that only is not right. So is a wait that all
        /// others have done all they do meanwhile.
        pub(crate) fn wait_killable<S: Fn() -> bool>(&self, _msecs: u32, stop: S) -> Result<bool> {
            machine::might_sleep("waits");
            let mut asked = None;
            for _ in 0..8 {
                let memory = machine().memory.lock().unwrap();
                let (refs, wakes) = (memory.frames[self.frame].refs, memory.wakes);
                drop(memory);
                if refs == 0 {
                    return Ok(true);
                }
                if asked != Some(wakes) {
                    asked = Some(wakes);
                    if stop() {
                        return Ok(true);
                    }
                }
                loom::thread::yield_now();
            }
            machine::violation("waits for what does not end");
            Err(EINTR)
        }
    }

    pub(crate) fn wake_waiters(_pfns: impl Iterator<Item = u64>) {
        machine().memory.lock().unwrap().wakes += 1;
    }

    pub(crate) fn layout_busy_page_range<'a, F: FileSystem>(
        _lock: &LayoutLock<'a, F>,
        range: &Range<u64>,
    ) -> Option<BusyPage<'a>> {
        let mut memory = machine().memory.lock().unwrap();
        let pages = (range.start >> PAGE_SHIFT) as usize
            ..PAGES.min(range.end.div_ceil(1 << PAGE_SHIFT) as usize);
        memory.mapped[pages.clone()].fill(false);
        pages
            .filter_map(|index| {
                let frame = memory.blocks[index]?;
                Some(BusyPage {
                    index,
                    frame,
                    _p: PhantomData,
                })
            })
            .find(|page| memory.frames[page.frame].refs != 0)
    }
}

pub(crate) mod fs {
    /// An open file, of which the identity is all that is used.
    #[derive(Clone)]
    pub(crate) struct File;
}

pub(crate) mod trace {
    use crate::rust::vfs::Inode;
    use std::ops::Range;

    pub(crate) enum Reason {
        Released,
        Closed,
        Orphaned,
        TimedOut,
    }

    pub(crate) fn lease_set(_inode: &Inode, _pages: &Range<u64>, _lease: i32) {}
    pub(crate) fn lease_release(_inode: &Inode, _pages: &Range<u64>, _reason: Reason) {}
    pub(crate) fn lease_break(_inode: &Inode, _pages: &Range<u64>) {}
    pub(crate) fn pin(_inode: &Inode, _pages: &Range<u64>) {}
    pub(crate) fn unpin(_inode: &Inode, _pages: &Range<u64>, _refs: u64) {}
    pub(crate) fn busy_wait(_inode: &Inode, _pages: &Range<u64>) {}
}

pub(crate) mod lease;

pub(crate) mod proc {
    use crate::{
        fs::File,
        machine::machine,
        prelude::*,
        rust::{
            gup::PathRef,
            identity::{
                FileId,
                MmId, //
            }, //
        },
        str::CStr, //
    };
    use std::{cell::RefCell, fmt, marker::PhantomData};

    pub(crate) struct PidNamespace;

    /// What a reader sees.
    #[derive(Default)]
    pub(crate) struct Seq<'a>(RefCell<String>, PhantomData<&'a ()>);

    impl Seq<'_> {
        pub(crate) fn print(&self, arguments: fmt::Arguments<'_>) {
            fmt::Write::write_fmt(&mut *self.0.borrow_mut(), arguments).unwrap();
        }

        pub(crate) fn path(&self, _path: &PathRef) {
            self.print(format_args!("/file"));
        }

        pub(crate) fn file_path(&self, _file: &File) {
            self.print(format_args!("/ring"));
        }

        pub(crate) fn pid_namespace(&self) -> &PidNamespace {
            &PidNamespace
        }

        pub(crate) fn is_full(&self) -> bool {
            false
        }

        pub(crate) fn into_string(self) -> String {
            self.0.into_inner()
        }
    }

    #[derive(Clone)]
    pub(crate) struct Process {
        pub(crate) number: usize,
        pub(crate) files: Vec<FileId>,
    }

    impl Process {
        pub(crate) fn for_each_file(&self, mut each: impl FnMut(u32, FileId, &File)) {
            for (fd, file) in self.files.iter().enumerate() {
                each(fd as u32, *file, &File);
            }
        }

        pub(crate) fn mm(&self) -> MmId {
            MmId(self.number)
        }
    }

    pub(crate) fn for_each_process(_ns: &PidNamespace, mut each: impl FnMut(i32, &Process)) {
        let processes = machine().processes.lock().unwrap().clone();
        for process in processes {
            each(process.number as i32, &process);
        }
    }

    pub(crate) trait PidFile: 'static {
        const NAME: &'static CStr;
        fn show(seq: &Seq<'_>, process: &Process) -> Result;
    }

    pub(crate) trait SingleFile: 'static {
        fn show(seq: &Seq<'_>) -> Result;
    }

    pub(crate) struct PidDirectory<F>(PhantomData<F>);

    impl<F: PidFile> PidDirectory<F> {
        pub(crate) fn new() -> Result<Self> {
            machine().hooks.lock().unwrap().file_pins = Some(F::show);
            Ok(Self(PhantomData))
        }
    }

    pub(crate) struct Directory;

    impl Directory {
        pub(crate) fn new(_path: &CStr) -> Result<Self> {
            Ok(Self)
        }

        pub(crate) fn file<F: SingleFile>(&self, _name: &CStr, _mode: u16) -> Result {
            machine().hooks.lock().unwrap().all_pins = Some(F::show);
            Ok(())
        }
    }
}
