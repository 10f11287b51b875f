// SPDX-License-Identifier: GPL-2.0

//! Inodes.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{
    dentry::{
        Dentry,
        Path, //
    },
    errno::{
        enametoolong,
        euclean, //
    },
    quarantine::Quarantine,
    super_block::SuperBlock,
    FileSystem, //
};
use crate::{
    bindings,
    lock::{
        ExclusiveInode,
        VfsLocked, //
    }, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    error::{
        from_result,
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    ffi::{
        c_char,
        c_int,
        c_uint,
        c_void, //
    },
    prelude::*,
    str::CStr,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::Opaque, //
};

/// A point in time: seconds since the epoch and nanoseconds within the second.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time {
    /// Seconds since 1970-01-01 00:00 UTC.
    pub(crate) sec: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub(crate) nsec: u32,
}

impl Time {
    /// Returns the current time of day.
    pub(crate) fn now() -> Self {
        let mut now = bindings::timespec64::default();
        // SAFETY: `now` is ours to fill.
        unsafe { bindings::ktime_get_real_ts64(&mut now) };
        Self::from_c(now)
    }

    fn from_c(ts: bindings::timespec64) -> Self {
        Self {
            sec: ts.tv_sec,
            nsec: ts.tv_nsec as u32,
        }
    }

    fn to_c(self) -> bindings::timespec64 {
        bindings::timespec64 {
            tv_sec: self.sec,
            tv_nsec: self.nsec as isize,
        }
    }
}

/// The three times that the VFS keeps for an inode.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    /// Last access.
    pub(crate) atime: Time,
    /// Last change of the contents.
    pub(crate) mtime: Time,
    /// Last change of the inode.
    pub(crate) ctime: Time,
}

/// The type of a file, as in the upper bits of its mode.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    /// Regular file.
    Regular,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// FIFO, socket or device node.
    Special,
}

impl Type {
    /// Returns the type that a mode (`i_mode`) says.
    pub(crate) fn of_mode(mode: u16) -> Self {
        match u32::from(mode) & bindings::S_IFMT {
            bindings::S_IFREG => Type::Regular,
            bindings::S_IFDIR => Type::Directory,
            bindings::S_IFLNK => Type::Symlink,
            _ => Type::Special,
        }
    }
}

/// The inode of a file of whatever file system.
///
/// Wraps `struct inode`. Instances are reference-counted by `ihold()` and `iput()`; the last
/// `iput()` may evict the inode and sleep.
///
/// # Invariants
///
/// The wrapped inode is initialised and its reference count is above zero.
#[repr(transparent)]
pub(crate) struct Inode(Opaque<bindings::inode>);

// SAFETY: Inodes are shared between tasks by design; all methods follow the locking rules of the
// fields that they touch.
unsafe impl Send for Inode {}
// SAFETY: As above.
unsafe impl Sync for Inode {}

// SAFETY: The type's invariant says that the reference count is above zero, so `ihold` may be
// called; `iput` gives back what `ihold` took.
unsafe impl AlwaysRefCounted for Inode {
    fn inc_ref(&self) {
        // SAFETY: By the type's invariant.
        unsafe { bindings::ihold(self.as_ptr()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller owns a reference.
        unsafe { bindings::iput(obj.as_ref().as_ptr()) };
    }
}

impl Inode {
    /// # Safety
    ///
    /// `ptr` must point at an initialised inode whose reference count stays above zero for `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::inode) -> &'a Self {
        // SAFETY: `Inode` is transparent to `struct inode`; validity is the caller's promise.
        unsafe { &*ptr.cast() }
    }

    /// Returns the wrapped `struct inode`.
    pub(crate) fn as_ptr(&self) -> *mut bindings::inode {
        self.0.get()
    }

    /// Returns the inode number.
    pub(crate) fn ino(&self) -> u64 {
        // SAFETY: `i_ino` does not change after the inode was published.
        unsafe { (*self.as_ptr()).i_ino }
    }

    /// Returns the device number of the superblock, as the kernel encodes it.
    pub(crate) fn dev(&self) -> u32 {
        // SAFETY: `i_sb` is set for the inode's whole life and `s_dev` for the superblock's.
        unsafe { (*(*self.as_ptr()).i_sb).s_dev }
    }

    /// Returns the mode: type and permission bits.
    pub(crate) fn mode(&self) -> u16 {
        // SAFETY: A plain load of an aligned field, which `i_rwsem` guards against torn updates.
        unsafe { (*self.as_ptr()).i_mode }
    }

    /// Returns the type of the file.
    pub(crate) fn file_type(&self) -> Type {
        Type::of_mode(self.mode())
    }

    /// Says whether this is a regular file.
    pub(crate) fn is_regular(&self) -> bool {
        self.file_type() == Type::Regular
    }

    /// Says whether this is a directory.
    pub(crate) fn is_dir(&self) -> bool {
        self.file_type() == Type::Directory
    }

    /// Returns the size in bytes (`i_size_read()`).
    pub(crate) fn size(&self) -> u64 {
        // SAFETY: The helper reads with the tearing protection that the platform needs.
        let size = unsafe { bindings::pinfs_helper_i_size_read(self.as_ptr()) };
        size.try_into().unwrap_or(0)
    }

    /// Returns the owner's user and group, as numbers of the file system's user namespace.
    pub(crate) fn owner(&self) -> (u32, u32) {
        // SAFETY: The inode is initialised.
        unsafe {
            (
                bindings::pinfs_helper_i_uid_read(self.as_ptr()),
                bindings::pinfs_helper_i_gid_read(self.as_ptr()),
            )
        }
    }

    /// Returns the times of the inode.
    pub(crate) fn times(&self) -> Times {
        // SAFETY: The inode is initialised; the helpers read the fields as the VFS does.
        unsafe {
            Times {
                atime: Time::from_c(bindings::pinfs_helper_inode_get_atime(self.as_ptr())),
                mtime: Time::from_c(bindings::pinfs_helper_inode_get_mtime(self.as_ptr())),
                ctime: Time::from_c(bindings::pinfs_helper_inode_get_ctime(self.as_ptr())),
            }
        }
    }

    /// Writes dirty pages and the inode (`sync_inode_metadata()`), and waits.
    pub(crate) fn sync_metadata(&self) -> Result {
        // SAFETY: The inode is initialised.
        to_result(unsafe { bindings::sync_inode_metadata(self.as_ptr(), 1) })
    }
}

/// An inode of the file system `F`.
///
/// # Invariants
///
/// The inode was allocated by `F`'s `alloc_inode`, so that it is the first field of a
/// [`Container<F>`].
#[repr(transparent)]
pub(crate) struct INode<F: FileSystem>(Inode, PhantomData<F>);

/// What `alloc_inode` allocates: the VFS's inode and the file system's own part beside it.
#[repr(C)]
pub(super) struct Container<F: FileSystem> {
    pub(super) inode: Opaque<bindings::inode>,
    pub(super) quarantine: Quarantine,
    pub(super) data: F::Inode,
}

// SAFETY: As for `Inode`, with which it shares the reference count.
unsafe impl<F: FileSystem> AlwaysRefCounted for INode<F> {
    fn inc_ref(&self) {
        self.0.inc_ref();
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller owns a reference; the types are transparent to one another.
        unsafe { Inode::dec_ref(obj.cast()) };
    }
}

impl<F: FileSystem> Deref for INode<F> {
    type Target = Inode;

    fn deref(&self) -> &Inode {
        &self.0
    }
}

impl<F: FileSystem> INode<F> {
    /// # Safety
    ///
    /// `ptr` must point at an inode that `F` allocated, with a reference count that stays above
    /// zero for `'a` (or that is being created or evicted by the caller for `'a`).
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::inode) -> &'a Self {
        // SAFETY: `INode` is transparent to `struct inode`; validity is the caller's promise.
        unsafe { &*ptr.cast() }
    }

    /// Returns this inode as one of `F`, if it is.
    pub(crate) fn try_from(inode: &Inode) -> Option<&Self> {
        if super::super_block::is_of::<F>(inode) {
            // SAFETY: The superblock's type says that `F` allocated the inode.
            Some(unsafe { Self::from_raw(inode.as_ptr()) })
        } else {
            None
        }
    }

    /// Returns the file system's own part of the inode.
    pub(crate) fn data(&self) -> &F::Inode {
        let container = self.as_ptr().cast::<Container<F>>();
        // SAFETY: By the type's invariant; `data` was initialised by `alloc_inode` and stays so
        // until `free_inode`, and is only ever shared.
        unsafe { &(*container).data }
    }

    /// Returns the superblock.
    pub(crate) fn super_block(&self) -> &SuperBlock<F> {
        // SAFETY: The superblock outlives its inodes and is of type `F`.
        unsafe { SuperBlock::from_raw((*self.as_ptr()).i_sb) }
    }

    /// Sets the size (`i_size_write()`). The i_rwsem is held, as the argument shows, which makes
    /// the caller the only writer.
    pub(crate) fn set_size(&self, _lock: &impl ExclusiveInode, size: u64) {
        // SAFETY: The lock serialises writers of `i_size`. No size above `s_maxbytes`, an i64,
        // reaches this function; one that did would be clamped.
        unsafe {
            bindings::pinfs_helper_i_size_write(
                self.as_ptr(),
                i64::try_from(size).unwrap_or(i64::MAX),
            )
        };
    }

    /// Sets the number of 512-byte sectors that statx reports.
    pub(crate) fn set_sectors(&self, sectors: u64) {
        // SAFETY: An aligned store to a field that is only reported.
        unsafe { (*self.as_ptr()).i_blocks = sectors };
    }

    /// Checks a new size against the limits (`inode_newsize_ok()`).
    ///
    /// # Errors
    ///
    /// `EFBIG` (with SIGXFSZ for the resource limit), `ETXTBSY` for a swap file.
    pub(crate) fn check_new_size(&self, _lock: &impl ExclusiveInode, size: u64) -> Result {
        let size = i64::try_from(size).map_err(|_| EFBIG)?;
        // SAFETY: The i_rwsem is held, as the argument shows.
        to_result(unsafe { bindings::inode_newsize_ok(self.as_ptr(), size) })
    }

    /// Adds a hard link. Link counts change under the parent directory's lock.
    pub(crate) fn inc_nlink(&self) {
        // SAFETY: The inode is initialised.
        unsafe { bindings::inc_nlink(self.as_ptr()) };
    }

    /// Takes a hard link away.
    pub(crate) fn drop_nlink(&self) {
        // SAFETY: The inode is initialised.
        unsafe { bindings::drop_nlink(self.as_ptr()) };
    }

    /// Takes all hard links away, as for a directory with its own `.`.
    pub(crate) fn clear_nlink(&self) {
        // SAFETY: The inode is initialised.
        unsafe { bindings::clear_nlink(self.as_ptr()) };
    }

    /// Returns the current time at the file system's granularity (`current_time()`).
    pub(crate) fn current_time(&self) -> Time {
        // SAFETY: The inode is initialised.
        Time::from_c(unsafe { bindings::current_time(self.as_ptr()) })
    }

    /// Sets the time of the last change of the inode.
    pub(crate) fn set_ctime(&self, time: Time) {
        // SAFETY: The inode is initialised.
        unsafe { bindings::inode_set_ctime_to_ts(self.as_ptr(), time.to_c()) };
    }

    /// Sets the time of the last change of the contents.
    pub(crate) fn set_mtime(&self, time: Time) {
        // SAFETY: The inode is initialised.
        unsafe { bindings::pinfs_helper_inode_set_mtime(self.as_ptr(), time.to_c()) };
    }

    /// Sets the times of a change of the contents to now.
    pub(crate) fn touch(&self) {
        let now = self.current_time();
        self.set_mtime(now);
        self.set_ctime(now);
    }
}

/// How an inode looks when it is published.
pub(crate) struct Params<'a, F: FileSystem> {
    /// Type and permission bits.
    pub(crate) mode: u16,
    /// User of the owner, in the file system's user namespace.
    pub(crate) uid: u32,
    /// Group of the owner.
    pub(crate) gid: u32,
    /// Number of hard links.
    pub(crate) nlink: u32,
    /// Size in bytes.
    pub(crate) size: u64,
    /// Allocated 512-byte sectors.
    pub(crate) sectors: u64,
    /// Generation number.
    pub(crate) generation: u32,
    /// The device of a device node, as `new_encode_dev()` encodes it.
    pub(crate) rdev: u32,
    /// Access, modification and change time.
    pub(crate) times: Times,
    /// The functions behind the inode.
    pub(crate) kind: Kind<'a, F>,
}

/// What kind of inode to publish, with its tables.
pub(crate) enum Kind<'a, F: FileSystem> {
    /// A regular file, whose pages are the device's own ([`S_DAX`]).
    ///
    /// [`S_DAX`]: srctree/include/linux/fs.h
    Regular(Table<F>, super::file::Table<F>),
    /// A directory.
    Directory(Table<F>, super::file::Table<F>),
    /// A symbolic link with its target, which the VFS caches.
    Symlink(Table<F>, &'a [u8]),
    /// A FIFO, socket or device node: the VFS brings the file operations.
    Special(Table<F>),
}

/// An inode that nobody else can use yet: locked and hashed (`I_NEW`), not published.
///
/// Dropping it without [`New::publish`] makes the inode bad and wakes whoever waits for it.
///
/// # Invariants
///
/// The wrapped inode is of `F`, in state `I_NEW`, and the value owns a reference to it.
pub(crate) struct New<F: FileSystem>(ARef<INode<F>>);

impl<F: FileSystem> Deref for New<F> {
    type Target = INode<F>;

    fn deref(&self) -> &INode<F> {
        &self.0
    }
}

impl<F: FileSystem> New<F> {
    fn init(&self, params: Params<'_, F>) -> Result {
        let inode = self.as_ptr();
        // SAFETY: The inode is in state `I_NEW` and ours alone, by the type's invariant.
        unsafe {
            (*inode).i_mode = params.mode;
            bindings::pinfs_helper_i_uid_write(inode, params.uid);
            bindings::pinfs_helper_i_gid_write(inode, params.gid);
            bindings::set_nlink(inode, params.nlink);
            bindings::pinfs_helper_i_size_write(
                inode,
                i64::try_from(params.size).map_err(|_| EOVERFLOW)?,
            );
            (*inode).i_blocks = params.sectors;
            (*inode).i_generation = params.generation;
            bindings::pinfs_helper_inode_set_atime(inode, params.times.atime.to_c());
            bindings::pinfs_helper_inode_set_mtime(inode, params.times.mtime.to_c());
            bindings::inode_set_ctime_to_ts(inode, params.times.ctime.to_c());
        }
        let (table, file_table) = match params.kind {
            Kind::Regular(table, file) => {
                // SAFETY: As above.
                unsafe {
                    (*inode).i_flags |= bindings::S_DAX;
                    (*(*inode).i_mapping).a_ops = file.address_space();
                }
                (table, Some(file))
            }
            Kind::Directory(table, file) => (table, Some(file)),
            Kind::Symlink(table, target) => {
                // SAFETY: As above; `kmemdup_nul` copies from a valid slice. The copy belongs to
                // the inode, `free_inode` frees it.
                unsafe {
                    let link = bindings::kmemdup_nul(
                        target.as_ptr().cast::<c_char>(),
                        target.len(),
                        bindings::GFP_KERNEL,
                    );
                    if link.is_null() {
                        return Err(ENOMEM);
                    }
                    (*inode).__bindgen_anon_5.i_link = link;
                }
                (table, None)
            }
            Kind::Special(table) => {
                // SAFETY: As above.
                unsafe {
                    bindings::init_special_inode(
                        inode,
                        params.mode,
                        bindings::pinfs_helper_new_decode_dev(params.rdev),
                    )
                };
                (table, None)
            }
        };
        // SAFETY: As above; the tables are static.
        unsafe {
            (*inode).i_op = table.0;
            if let Some(file) = file_table {
                (*inode).__bindgen_anon_3.i_fop = file.operations();
            }
        }
        Ok(())
    }

    /// Fills the inode in and lets others use it.
    pub(crate) fn publish(self, params: Params<'_, F>) -> Result<ARef<INode<F>>> {
        self.init(params)?;
        let me = ManuallyDrop::new(self);
        // SAFETY: The inode is in state `I_NEW` by the type's invariant.
        unsafe { bindings::unlock_new_inode(me.as_ptr()) };
        // SAFETY: `me` is not dropped, so the reference is moved out once.
        Ok(unsafe { core::ptr::read(&me.0) })
    }

    /// Fills in an inode that was just created under the name `dentry`, lets others use it and
    /// ties the two together.
    ///
    /// # Errors
    ///
    /// `ENOMEM`: the file exists all the same, so the dentry that says it does not is dropped.
    pub(crate) fn publish_as(self, dentry: Negative<'_>, params: Params<'_, F>) -> Result {
        self.init(params).inspect_err(|_| {
            // SAFETY: The dentry is valid.
            unsafe { bindings::d_drop(dentry.0.as_ptr()) };
        })?;
        let me = ManuallyDrop::new(self);
        // SAFETY: The inode is in state `I_NEW` by the type's invariant, the dentry negative by
        // its own. `d_instantiate_new` takes over our reference.
        unsafe { bindings::d_instantiate_new(dentry.0.as_ptr(), me.as_ptr()) };
        Ok(())
    }
}

impl<F: FileSystem> Drop for New<F> {
    fn drop(&mut self) {
        // An inode that was never filled in must not reach `evict_inode` as if it were a file.
        // SAFETY: The inode is in state `I_NEW`. `iget_failed` makes it bad, unlocks it and drops
        // one reference, so we take one for it: the `ARef` drops its own afterwards.
        unsafe {
            bindings::ihold(self.0.as_ptr());
            bindings::iget_failed(self.0.as_ptr());
        }
    }
}

/// The result of looking for an inode in the cache.
pub(crate) enum Found<F: FileSystem> {
    /// It was there.
    Cached(ARef<INode<F>>),
    /// It has to be read and published.
    New(New<F>),
}

/// Looks for inode `ino` in the inode cache, and makes a new one there if it is missing
/// (`iget_locked()`).
///
/// # Errors
///
/// `ENOMEM`; `EIO` for an inode that could not be read before and is still in use.
pub(crate) fn get<F: FileSystem>(sb: &SuperBlock<F>, ino: u64) -> Result<Found<F>> {
    // SAFETY: The superblock is valid and of `F`.
    let inode = NonNull::new(unsafe { bindings::iget_locked(sb.as_ptr(), ino) }).ok_or(ENOMEM)?;
    // SAFETY: `iget_locked` returns an owned reference.
    let inode: ARef<INode<F>> = unsafe { ARef::from_raw(inode.cast()) };
    // SAFETY: The inode is valid.
    if unsafe { bindings::pinfs_helper_inode_is_new(inode.as_ptr()) } {
        // INVARIANT: In state `I_NEW`.
        return Ok(Found::New(New(inode)));
    }
    // SAFETY: The inode is valid.
    if unsafe { bindings::is_bad_inode(inode.as_ptr()) } {
        return Err(EIO);
    }
    Ok(Found::Cached(inode))
}

/// A dentry without an inode, whose name is about to be given to one.
///
/// # Invariants
///
/// The dentry is negative, and its parent's i_rwsem is held exclusively.
pub(crate) struct Negative<'a>(&'a Dentry);

impl Deref for Negative<'_> {
    type Target = Dentry;

    fn deref(&self) -> &Dentry {
        self.0
    }
}

/// An inode for a file that is being created: it has owner, mode and times
/// (`inode_init_owner()`), and no number yet.
///
/// # Invariants
///
/// The wrapped inode is of `F` and not hashed, and the value owns the only reference to it.
pub(crate) struct Draft<F: FileSystem>(ARef<INode<F>>);

impl<F: FileSystem> Deref for Draft<F> {
    type Target = INode<F>;

    fn deref(&self) -> &INode<F> {
        &self.0
    }
}

impl<F: FileSystem> Draft<F> {
    /// # Safety
    ///
    /// `dir` must be a directory of `F`, `idmap` its mount's.
    unsafe fn new(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        mode: u16,
    ) -> Result<Self> {
        // SAFETY: The superblock is of `F`, so the inode is too. It is initialised before anybody
        // else sees it.
        unsafe {
            let inode = NonNull::new(bindings::new_inode((*dir).i_sb)).ok_or(ENOMEM)?;
            bindings::inode_init_owner(idmap, inode.as_ptr(), dir, mode);
            bindings::simple_inode_init_ts(inode.as_ptr());
            // INVARIANT: `new_inode` returns an inode that is not hashed.
            Ok(Self(ARef::from_raw(inode.cast())))
        }
    }

    /// Gives the inode a number, under which it can be found from now on.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if an inode with this number is in use already, which means that the file system
    /// handed it out twice.
    pub(crate) fn number(self, ino: u64) -> Result<New<F>> {
        // SAFETY: By the type's invariant the inode is ours alone and not hashed.
        let taken = unsafe {
            (*self.as_ptr()).i_ino = ino;
            bindings::insert_inode_locked(self.as_ptr()) != 0
        };
        if taken {
            return Err(euclean());
        }
        let me = ManuallyDrop::new(self);
        // SAFETY: `me` is not dropped, so the reference is moved out once.
        // INVARIANT: `insert_inode_locked` has put the inode into state `I_NEW`.
        Ok(New(unsafe { core::ptr::read(&me.0) }))
    }
}

impl<F: FileSystem> Drop for Draft<F> {
    fn drop(&mut self) {
        // It has no file behind it, which `evict_inode` recognises by the inode being bad.
        // SAFETY: By the type's invariant the inode is ours alone.
        unsafe { bindings::make_bad_inode(self.as_ptr()) };
    }
}

/// The attributes that `setattr` is asked to change.
pub(crate) struct Attributes<'a> {
    idmap: *mut bindings::mnt_idmap,
    iattr: &'a mut bindings::iattr,
}

impl Attributes<'_> {
    /// Returns the new size, if it is to change.
    pub(crate) fn size(&self) -> Option<u64> {
        if self.iattr.ia_valid & bindings::ATTR_SIZE != 0 {
            self.iattr.ia_size.try_into().ok()
        } else {
            None
        }
    }

    /// Checks permission and limits (`setattr_prepare()`).
    ///
    /// # Errors
    ///
    /// `EPERM`, `EFBIG`, `ETXTBSY` (swap file) …, as `setattr_prepare()`.
    pub(crate) fn prepare(&mut self, dentry: &Dentry) -> Result {
        // SAFETY: All pointers come from the VFS's call of `setattr`.
        to_result(unsafe { bindings::setattr_prepare(self.idmap, dentry.as_ptr(), self.iattr) })
    }

    /// Copies all attributes but the size to the inode (`setattr_copy()`).
    pub(crate) fn apply<F: FileSystem>(&self, inode: &impl ExclusiveInode<Fs = F>) {
        // SAFETY: The i_rwsem is held, as the argument shows.
        unsafe { bindings::setattr_copy(self.idmap, inode.inode().as_ptr(), self.iattr) };
    }
}

/// The flags of `renameat2()`.
#[derive(Clone, Copy)]
pub(crate) struct RenameFlags(c_uint);

impl RenameFlags {
    /// Says whether the target must not exist. The VFS has checked it.
    pub(crate) fn only_noreplace_or_none(self) -> bool {
        self.0 & !bindings::RENAME_NOREPLACE == 0
    }
}

/// The functions of an inode (`struct inode_operations`).
///
/// Unless said otherwise, the directory's i_rwsem is held exclusively in all functions that change
/// it, and that of a victim too (see `Documentation/filesystems/directory-locking.rst`).
#[vtable]
pub(crate) trait Operations: Sized + 'static {
    /// The file system whose inodes these are.
    type Fs: FileSystem;

    /// Looks a name up. The directory's i_rwsem is held at least shared.
    fn lookup(_dir: &INode<Self::Fs>, _name: &[u8]) -> Result<Option<ARef<INode<Self::Fs>>>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Creates a file of the type that the draft's mode says: regular, directory (for `mkdir`) or
    /// special file with the device number `rdev`.
    fn create(
        _dir: &VfsLocked<'_, Self::Fs>,
        _dentry: Negative<'_>,
        _draft: Draft<Self::Fs>,
        _rdev: u32,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Creates a symbolic link.
    fn symlink(
        _dir: &VfsLocked<'_, Self::Fs>,
        _dentry: Negative<'_>,
        _draft: Draft<Self::Fs>,
        _target: &[u8],
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Removes the name of a file that is not a directory.
    fn unlink(
        _dir: &VfsLocked<'_, Self::Fs>,
        _dentry: &Dentry,
        _inode: &VfsLocked<'_, Self::Fs>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Removes a directory. It is the function's task to see that it is empty.
    fn rmdir(
        _dir: &VfsLocked<'_, Self::Fs>,
        _dentry: &Dentry,
        _inode: &VfsLocked<'_, Self::Fs>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Renames `from` in `from_dir` to `to` in `to_dir`, over `victim` if there is one.
    ///
    /// Both directories' i_rwsem are held exclusively (they may be one directory), the victim's
    /// too, and that of `inode` if it is a directory that changes its parent.
    fn rename(
        _from_dir: &VfsLocked<'_, Self::Fs>,
        _from: &Dentry,
        _inode: &INode<Self::Fs>,
        _to_dir: &VfsLocked<'_, Self::Fs>,
        _to: &Dentry,
        _victim: Option<&VfsLocked<'_, Self::Fs>>,
        _flags: RenameFlags,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes attributes. The inode's i_rwsem is held exclusively.
    fn setattr(
        _inode: &mut VfsLocked<'_, Self::Fs>,
        _dentry: &Dentry,
        _attributes: Attributes<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns the birth time, if it can be told; everything else of statx comes from the inode
    /// (`generic_fillattr()`). No lock is held.
    fn birth_time(_inode: &INode<Self::Fs>) -> Option<Time> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// A filled `struct inode_operations` of `F`.
pub(crate) struct Table<F: FileSystem>(*const bindings::inode_operations, PhantomData<F>);

impl<F: FileSystem> Clone for Table<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: FileSystem> Copy for Table<F> {}

impl<F: FileSystem> Table<F> {
    /// Returns the table that calls `T`, for anything but a symbolic link.
    pub(crate) const fn of<T: Operations<Fs = F>>() -> Self {
        Self(&Thunks::<T>::TABLE, PhantomData)
    }

    /// Returns the table that calls `T`, for a symbolic link.
    pub(crate) const fn symlink<T: Operations<Fs = F>>() -> Self {
        Self(&Thunks::<T>::SYMLINK, PhantomData)
    }
}

struct Thunks<T: Operations>(PhantomData<T>);

impl<T: Operations> Thunks<T> {
    const TABLE: bindings::inode_operations = bindings::inode_operations {
        lookup: if T::HAS_LOOKUP {
            Some(Self::lookup)
        } else {
            None
        },
        create: if T::HAS_CREATE {
            Some(Self::create)
        } else {
            None
        },
        mkdir: if T::HAS_CREATE {
            Some(Self::mkdir)
        } else {
            None
        },
        mknod: if T::HAS_CREATE {
            Some(Self::mknod)
        } else {
            None
        },
        symlink: if T::HAS_SYMLINK {
            Some(Self::symlink)
        } else {
            None
        },
        unlink: if T::HAS_UNLINK {
            Some(Self::unlink)
        } else {
            None
        },
        rmdir: if T::HAS_RMDIR {
            Some(Self::rmdir)
        } else {
            None
        },
        rename: if T::HAS_RENAME {
            Some(Self::rename)
        } else {
            None
        },
        setattr: if T::HAS_SETATTR {
            Some(Self::setattr)
        } else {
            None
        },
        getattr: if T::HAS_BIRTH_TIME {
            Some(Self::getattr)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// The VFS takes whatever has `get_link` for a symbolic link. The target is cached in `i_link`.
    const SYMLINK: bindings::inode_operations = bindings::inode_operations {
        get_link: Some(bindings::simple_get_link),
        ..Self::TABLE
    };

    /// # Safety
    ///
    /// `dir` and `dentry` must be as in the VFS's call of `lookup`.
    unsafe extern "C" fn lookup(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        _flags: c_uint,
    ) -> *mut bindings::dentry {
        // SAFETY: The directory is of `T::Fs` and referenced by the caller.
        let dir = unsafe { INode::<T::Fs>::from_raw(dir) };
        // SAFETY: The dentry is valid for the call.
        let name = unsafe { Dentry::from_raw(dentry) }.name();
        if name.len() > bindings::NAME_MAX as usize {
            return enametoolong().to_ptr();
        }
        match T::lookup(dir, name) {
            // SAFETY: The dentry is unhashed; the reference to the inode is handed over.
            Ok(Some(inode)) => unsafe {
                bindings::d_splice_alias(ARef::into_raw(inode).as_ref().as_ptr(), dentry)
            },
            // SAFETY: As above, for a name that does not exist.
            Ok(None) => unsafe { bindings::d_splice_alias(core::ptr::null_mut(), dentry) },
            Err(err) => err.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// As for `create`; `mode` must have the type of the file.
    unsafe fn make(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u16,
        rdev: u32,
    ) -> Result {
        // SAFETY: The VFS holds the directory's i_rwsem and calls with a negative dentry.
        unsafe {
            let draft = Draft::new(idmap, dir, mode)?;
            T::create(
                &VfsLocked::from_raw(dir),
                Negative(Dentry::from_raw(dentry)),
                draft,
                rdev,
            )
        }
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `create`.
    unsafe extern "C" fn create(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
        _excl: bool,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By this function's requirements.
            unsafe { Self::make(idmap, dir, dentry, mode | bindings::S_IFREG as u16, 0)? };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `mkdir`.
    unsafe extern "C" fn mkdir(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> *mut bindings::dentry {
        // SAFETY: By this function's requirements.
        match unsafe { Self::make(idmap, dir, dentry, mode | bindings::S_IFDIR as u16, 0) } {
            Ok(()) => core::ptr::null_mut(),
            Err(err) => err.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `mknod`.
    unsafe extern "C" fn mknod(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
        dev: bindings::dev_t,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By this function's requirements.
            unsafe {
                let rdev = bindings::pinfs_helper_new_encode_dev(dev);
                Self::make(idmap, dir, dentry, mode, rdev)?
            };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `symlink`.
    unsafe extern "C" fn symlink(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        target: *const c_char,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The VFS holds the directory's i_rwsem, calls with a negative dentry and
            // with a string.
            unsafe {
                let mode = (bindings::S_IFLNK | 0o777) as u16;
                T::symlink(
                    &VfsLocked::from_raw(dir),
                    Negative(Dentry::from_raw(dentry)),
                    Draft::new(idmap, dir, mode)?,
                    CStr::from_char_ptr(target).to_bytes(),
                )?
            };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `unlink`.
    unsafe extern "C" fn unlink(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> c_int {
        from_result(|| {
            // SAFETY: The VFS holds both inodes' i_rwsem; the dentry is positive.
            unsafe {
                let victim = VfsLocked::from_raw((*dentry).d_inode);
                T::unlink(&VfsLocked::from_raw(dir), Dentry::from_raw(dentry), &victim)?
            };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `rmdir`.
    unsafe extern "C" fn rmdir(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> c_int {
        from_result(|| {
            // SAFETY: The VFS holds both inodes' i_rwsem; the dentry is positive.
            unsafe {
                let victim = VfsLocked::from_raw((*dentry).d_inode);
                T::rmdir(&VfsLocked::from_raw(dir), Dentry::from_raw(dentry), &victim)?
            };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `rename`.
    unsafe extern "C" fn rename(
        _idmap: *mut bindings::mnt_idmap,
        from_dir: *mut bindings::inode,
        from: *mut bindings::dentry,
        to_dir: *mut bindings::inode,
        to: *mut bindings::dentry,
        flags: c_uint,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The VFS holds the i_rwsem of the directories and of the victim, and both
            // dentries' inodes are stable under them.
            unsafe {
                let victim = (*to).d_inode;
                let victim = (!victim.is_null()).then(|| VfsLocked::from_raw(victim));
                T::rename(
                    &VfsLocked::from_raw(from_dir),
                    Dentry::from_raw(from),
                    INode::from_raw((*from).d_inode),
                    &VfsLocked::from_raw(to_dir),
                    Dentry::from_raw(to),
                    victim.as_ref(),
                    RenameFlags(flags),
                )?
            };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `setattr`.
    unsafe extern "C" fn setattr(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        iattr: *mut bindings::iattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The VFS holds the inode's i_rwsem and hands over a valid `iattr`.
            unsafe {
                let mut inode = VfsLocked::from_raw((*dentry).d_inode);
                let attributes = Attributes {
                    idmap,
                    iattr: &mut *iattr,
                };
                T::setattr(&mut inode, Dentry::from_raw(dentry), attributes)?
            };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `getattr`.
    unsafe extern "C" fn getattr(
        idmap: *mut bindings::mnt_idmap,
        path: *const bindings::path,
        stat: *mut bindings::kstat,
        request_mask: u32,
        _flags: c_uint,
    ) -> c_int {
        // SAFETY: The path is positive and referenced by the caller, `stat` is valid.
        unsafe {
            let inode = (*Path::from_raw(path).dentry().as_ptr()).d_inode;
            bindings::generic_fillattr(idmap, request_mask, inode, stat);
            if let Some(time) = T::birth_time(INode::from_raw(inode)) {
                (*stat).btime = time.to_c();
                (*stat).result_mask |= bindings::STATX_BTIME;
            }
        }
        0
    }
}

/// Frees what [`New::init`] allocated for an inode.
///
/// # Safety
///
/// Only for `free_inode`: nobody can reach the inode any more, an RCU grace period has passed.
pub(super) unsafe fn free_link(inode: *mut bindings::inode) {
    // SAFETY: By this function's requirements; `i_link` shares its storage with the device and
    // pipe pointers, so only symbolic links own it.
    unsafe {
        if Type::of_mode((*inode).i_mode) == Type::Symlink {
            bindings::kfree((*inode).__bindgen_anon_5.i_link.cast::<c_void>());
        }
    }
}
