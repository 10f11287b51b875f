// SPDX-License-Identifier: GPL-2.0

//! Inodes that are not in use yet: drafts and new ones, and their publication.

use super::{
    FsInode,
    Table,
    Times, //
};
use crate::rust::{
    bindings,
    safe,
    vfs::{
        dentry::Dentry,
        errno::euclean,
        file,
        super_block::SuperBlock,
        xattr::Initial,
        FileSystem, //
    }, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    ffi::{
        c_char,
        c_void, //
    },
    prelude::*,
    sync::aref::ARef, //
};

/// The attributes of an inode at its publication.
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
    /// Changes counted so far (`i_version`).
    pub(crate) version: u64,
    /// Flags (`FS_*_FL`).
    pub(crate) flags: u32,
    /// The device of a device node, as `new_encode_dev()` encodes it.
    pub(crate) rdev: u32,
    /// Access, modification and change time.
    pub(crate) times: Times,
    /// The type of the inode with its functions.
    pub(crate) kind: Kind<'a, F>,
}

/// The type of an inode to publish, with its tables.
pub(crate) enum Kind<'a, F: FileSystem> {
    /// A regular file, whose pages are the device's own ([`S_DAX`]).
    ///
    /// [`S_DAX`]: srctree/include/linux/fs.h
    Regular(Table<F>, file::Table<F>),
    /// A directory.
    Directory(Table<F>, file::Table<F>),
    /// A symbolic link with its target, which the VFS caches.
    Symlink(Table<F>, &'a [u8]),
    /// A FIFO, socket or device node, for which the VFS has the file operations.
    Special(Table<F>),
}

/// The target of a symbolic link as an inode keeps it (`i_link`): a string in memory of its own.
///
/// # Invariants
///
/// The value owns the memory, which is from `kmalloc()`.
struct Link(NonNull<c_char>);

impl Link {
    fn new(target: &[u8]) -> Result<Self> {
        // SAFETY: The slice is valid for its length, and copied.
        let link = unsafe {
            bindings::kmemdup_nul(
                target.as_ptr().cast::<c_char>(),
                target.len(),
                bindings::GFP_KERNEL,
            )
        };
        // INVARIANT: `kmemdup_nul` allocates.
        NonNull::new(link).map(Self).ok_or(ENOMEM)
    }

    /// Passes the memory on.
    fn into_raw(self) -> *mut c_char {
        ManuallyDrop::new(self).0.as_ptr()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant the value owns the memory, which is from `kmalloc()`.
        unsafe { bindings::kfree(self.0.as_ptr().cast::<c_void>()) };
    }
}

/// An inode that no other task can use yet: locked and hashed (`I_NEW`), not published.
///
/// Dropping it without [`New::publish`] makes the inode bad and wakes tasks that wait for it.
///
/// # Invariants
///
/// The wrapped inode is of `F`, in state `I_NEW`, and the value owns a reference to it.
pub(crate) struct New<F: FileSystem>(ARef<FsInode<F>>, Option<Link>);

impl<F: FileSystem> Deref for New<F> {
    type Target = FsInode<F>;

    fn deref(&self) -> &FsInode<F> {
        &self.0
    }
}

impl<F: FileSystem> New<F> {
    fn init(&mut self, params: Params<'_, F>) -> Result {
        let inode = self.as_ptr();
        let size = i64::try_from(params.size).map_err(|_| EOVERFLOW)?;
        safe::pinfs_helper_i_size_write(self, size);
        safe::pinfs_helper_set_iversion(self, params.version);
        super::apply_flags(self, params.flags);
        safe::pinfs_helper_inode_set_atime(self, params.times.atime.to_c());
        safe::pinfs_helper_inode_set_mtime(self, params.times.mtime.to_c());
        safe::inode_set_ctime_to_ts(self, params.times.ctime.to_c());
        // SAFETY: The inode is in state `I_NEW`, by the type's invariant, in which only its creator
        // uses it. The tables are static. The link's string belongs to the inode from now on, and
        // `free_inode` frees it.
        unsafe {
            (*inode).i_mode = params.mode;
            bindings::pinfs_helper_i_uid_write(inode, params.uid);
            bindings::pinfs_helper_i_gid_write(inode, params.gid);
            bindings::set_nlink(inode, params.nlink);
            (*inode).i_blocks = params.sectors;
            (*inode).i_generation = params.generation;
            let table = match params.kind {
                Kind::Regular(table, file) => {
                    (*inode).i_flags |= bindings::S_DAX;
                    (*(*inode).i_mapping).a_ops = file.address_space();
                    (*inode).__bindgen_anon_3.i_fop = file.operations();
                    table
                }
                Kind::Directory(table, file) => {
                    (*inode).__bindgen_anon_3.i_fop = file.operations();
                    table
                }
                Kind::Symlink(table, target) => {
                    let link = match self.1.take() {
                        Some(link) => link,
                        None => Link::new(target)?,
                    };
                    (*inode).__bindgen_anon_5.i_link = link.into_raw();
                    table
                }
                Kind::Special(table) => {
                    let device = bindings::pinfs_helper_new_decode_dev(params.rdev);
                    bindings::init_special_inode(inode, params.mode, device);
                    table
                }
            };
            (*inode).i_op = table.0;
        }
        Ok(())
    }

    /// Fills in the inode and makes it available to other tasks.
    pub(crate) fn publish(mut self, params: Params<'_, F>) -> Result<ARef<FsInode<F>>> {
        self.init(params)?;
        self.1 = None;
        let me = ManuallyDrop::new(self);
        // SAFETY: The inode is in state `I_NEW` by the type's invariant. `me` is not dropped, so
        // the reference is moved out once.
        unsafe {
            bindings::unlock_new_inode(me.as_ptr());
            Ok(core::ptr::read(&me.0))
        }
    }

    /// Fills in an inode that was just created under the name `dentry`, makes it available to other
    /// tasks and attaches it to the dentry.
    ///
    /// # Errors
    ///
    /// `EOVERFLOW` for a size that no file of `F` has: the file exists all the same, so the
    /// negative dentry is dropped. There is no other error, as all memory was allocated with the
    /// [`Draft`].
    pub(crate) fn publish_as(mut self, dentry: Negative<'_>, params: Params<'_, F>) -> Result {
        self.init(params).inspect_err(|_| {
            // SAFETY: The dentry is referenced, and its parent locked, by the type's invariant.
            unsafe { bindings::d_drop(dentry.0.as_ptr()) };
        })?;
        self.1 = None;
        let me = ManuallyDrop::new(self);
        // SAFETY: The inode is in state `I_NEW` by the type's invariant, the dentry negative by its
        // own. `d_instantiate_new` takes over the reference.
        unsafe { bindings::d_instantiate_new(dentry.0.as_ptr(), me.as_ptr()) };
        Ok(())
    }
}

impl<F: FileSystem> New<F> {
    /// Fills in an inode that was just created without a name, makes it available to other tasks,
    /// and attaches it to the file that is being opened.
    pub(crate) fn publish_unnamed(self, file: Unnamed<'_>, params: Params<'_, F>) -> Result {
        let inode = self.publish(params)?;
        // SAFETY: By the type's invariant the file's dentry is negative and has no name.
        // `d_instantiate` takes over the reference to the inode.
        unsafe {
            let inode = ARef::into_raw(inode).as_ref().as_ptr();
            bindings::d_mark_tmpfile(file.0.as_ptr(), inode);
            bindings::d_instantiate(bindings::pinfs_helper_file_dentry(file.0.as_ptr()), inode);
        }
        Ok(())
    }
}

impl<F: FileSystem> Drop for New<F> {
    fn drop(&mut self) {
        // An inode that was never filled in must not reach `evict_inode` as if it were a file.
        // SAFETY: The inode is in state `I_NEW`. `iget_failed` makes it bad, unlocks it and drops
        // one reference, so this takes one for it: the `ARef` drops its own afterwards.
        unsafe {
            bindings::ihold(self.0.as_ptr());
            bindings::iget_failed(self.0.as_ptr());
        }
    }
}

/// The result of a look-up in the inode cache.
pub(crate) enum Found<F: FileSystem> {
    /// It was in the cache.
    Cached(ARef<FsInode<F>>),
    /// It has to be read and published.
    New(New<F>),
}

/// Looks up inode `ino` in the inode cache, and creates a new one there if it is missing
/// (`iget_locked()`).
///
/// # Errors
///
/// `ENOMEM`; `EIO` for an inode that could not be read before and is still in use.
pub(crate) fn get<F: FileSystem>(sb: &SuperBlock<F>, ino: u64) -> Result<Found<F>> {
    // SAFETY: The superblock is active and of `F`, by its type, and so is the inode. `iget_locked`
    // returns an owned reference.
    let inode: ARef<FsInode<F>> = unsafe {
        let inode = NonNull::new(bindings::iget_locked(sb.as_ptr(), ino)).ok_or(ENOMEM)?;
        ARef::from_raw(inode.cast())
    };
    if safe::pinfs_helper_inode_is_new(&inode) {
        // INVARIANT: In state `I_NEW`.
        return Ok(Found::New(New(inode, None)));
    }
    if safe::is_bad_inode(&inode) {
        return Err(EIO);
    }
    Ok(Found::Cached(inode))
}

/// A dentry without an inode, which is about to get one.
///
/// # Invariants
///
/// The dentry is negative, and its parent's i_rwsem is held exclusively.
pub(crate) struct Negative<'a>(pub(super) &'a Dentry);

impl Deref for Negative<'_> {
    type Target = Dentry;

    fn deref(&self) -> &Dentry {
        self.0
    }
}

/// A file that is being opened with `O_TMPFILE`.
///
/// # Invariants
///
/// The file is not open yet, and its dentry is negative and in no directory.
pub(crate) struct Unnamed<'a>(NonNull<bindings::file>, PhantomData<&'a ()>);

impl Unnamed<'_> {
    /// # Safety
    ///
    /// `file` must be as in the VFS's call of `tmpfile`, which the value must not outlive.
    pub(super) unsafe fn from_raw(file: *mut bindings::file) -> Self {
        // SAFETY: The VFS calls `tmpfile` with a file.
        // INVARIANT: By this function's requirements.
        Self(unsafe { NonNull::new_unchecked(file) }, PhantomData)
    }
}

/// An inode for a file that is being created: it has owner, mode and times
/// (`inode_init_owner()`), a copy of its target if it is a symbolic link, and no number yet.
///
/// # Invariants
///
/// The wrapped inode is of `F` and not hashed, and the value owns the only reference to it.
pub(crate) struct Draft<F: FileSystem>(ARef<FsInode<F>>, Option<Link>, Initial);

impl<F: FileSystem> Deref for Draft<F> {
    type Target = FsInode<F>;

    fn deref(&self) -> &FsInode<F> {
        &self.0
    }
}

impl<F: FileSystem> Draft<F> {
    /// # Safety
    ///
    /// `dir` must be a directory of `F`, `idmap` that of its mount, and `dentry` that of the new
    /// file.
    pub(super) unsafe fn new(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u16,
    ) -> Result<Self> {
        // SAFETY: The superblock is of `F`, so the inode is too. It is initialised before another
        // task can reach it.
        unsafe {
            let inode = NonNull::new(bindings::new_inode((*dir).i_sb)).ok_or(ENOMEM)?;
            bindings::inode_init_owner(idmap, inode.as_ptr(), dir, mode);
            bindings::simple_inode_init_ts(inode.as_ptr());
            // INVARIANT: `new_inode` returns an inode that is not hashed.
            let mut draft = Self(ARef::from_raw(inode.cast()), None, Initial::none());
            let name = &raw const (*dentry).__bindgen_anon_1.d_name;
            draft.2 = Initial::new(inode.as_ptr(), dir, name.cast())?;
            Ok(draft)
        }
    }

    /// Returns the initial attributes of the inode.
    pub(crate) fn xattrs(&self) -> &Initial {
        &self.2
    }

    /// Returns a draft of a symbolic link. All memory of its inode is allocated here, because a
    /// failure is not possible any more once the link is on the device.
    ///
    /// # Safety
    ///
    /// The requirements of [`Draft::new`]; `mode` must be that of a symbolic link.
    pub(super) unsafe fn of_symlink(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u16,
        target: &[u8],
    ) -> Result<Self> {
        let link = Link::new(target)?;
        // SAFETY: This function's requirements are those of `new`.
        let mut draft = unsafe { Self::new(idmap, dir, dentry, mode)? };
        draft.1 = Some(link);
        Ok(draft)
    }

    /// Gives the inode a number, by which it can be found from now on.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if an inode with this number is in use already, that is, the file system has
    /// allocated it twice.
    pub(crate) fn number(self, ino: u64) -> Result<New<F>> {
        // SAFETY: By the type's invariant the value has the only reference to the inode, which is
        // not hashed.
        let taken = unsafe {
            (*self.as_ptr()).i_ino = ino;
            bindings::insert_inode_locked(self.as_ptr()) != 0
        };
        if taken {
            return Err(euclean());
        }
        let mut me = ManuallyDrop::new(self);
        drop(core::mem::replace(&mut me.2, Initial::none()));
        // SAFETY: `me` is not dropped, so its fields are moved out once.
        // INVARIANT: `insert_inode_locked` has put the inode into state `I_NEW`.
        Ok(unsafe { New(core::ptr::read(&me.0), core::ptr::read(&me.1)) })
    }
}

impl<F: FileSystem> Drop for Draft<F> {
    fn drop(&mut self) {
        // The inode has no file. `evict_inode` recognises that by the inode being bad.
        // SAFETY: By the type's invariant the value has the only reference to the inode.
        unsafe { bindings::make_bad_inode(self.as_ptr()) };
    }
}
