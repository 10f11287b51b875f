// SPDX-License-Identifier: GPL-2.0

//! File system types and superblocks.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/fs_context.h`](srctree/include/linux/fs_context.h)

use super::{
    export,
    inode::{
        free_link,
        Container,
        Mapping, //
    },
    quarantine::{
        self,
        QuarantineState, //
    },
    xattr,
    FsInode,
    Inode, //
};
use crate::rust::{
    bindings,
    compat,
    dax,
    safe,
    sysfs::Directory, //
};
use core::{
    marker::PhantomData,
    mem::offset_of,
    ptr::NonNull, //
};
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    seq_file::SeqFile,
    str::CStr,
    sync::{
        aref::ARef,
        Arc, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};

/// The statistics of a superblock for statfs.
pub(crate) struct Statistics {
    /// Magic number (`f_type`).
    pub(crate) magic: u32,
    /// Block size in bytes.
    pub(crate) block_size: u32,
    /// Blocks that files and metadata can use.
    pub(crate) blocks: u64,
    /// Free blocks.
    pub(crate) free_blocks: u64,
    /// Free blocks that users can have (`f_bavail`).
    pub(crate) available_blocks: u64,
    /// Inodes that can exist.
    pub(crate) inodes: u64,
    /// Inodes that can still be created.
    pub(crate) free_inodes: u64,
    /// Unique identification, for `f_fsid`.
    pub(crate) uuid: [u8; 16],
    /// Longest name in bytes.
    pub(crate) name_max: u32,
}

/// A mount option of the user.
pub(crate) struct MountOption<'a> {
    /// The name before the `=`.
    pub(crate) name: &'a [u8],
    /// The value after the `=`, if there is one.
    pub(crate) value: Option<&'a [u8]>,
}

/// The result of [`FileSystem::parse_option`].
#[derive(PartialEq, Eq)]
pub(crate) enum Known {
    /// The file system knows the option, and has taken it.
    Yes,
    /// The file system does not know the option; the VFS reports that to the user.
    No,
}

/// A file system on a DAX-capable block device.
pub(crate) trait FileSystem: Sized + Send + Sync + 'static {
    /// The name that mount(8) uses.
    const NAME: &'static CStr;

    /// Granularity of the times in inodes, in nanoseconds.
    const TIME_GRANULARITY: u32;

    /// The functions of file handles.
    const EXPORT: export::Table<Self>;

    /// The functions of extended attributes.
    type Xattrs: xattr::Operations<Fs = Self>;

    /// The file system's data of a superblock.
    type Super: AsRef<dax::Device> + AsRef<QuarantineState> + Send + Sync + 'static;

    /// The file system's data of an inode.
    type Inode: Send + Sync + 'static;

    /// Mount options.
    type Options: Default + Send + Sync + 'static;

    /// Initialises the file system's part of an inode that is about to be read or created.
    fn new_inode() -> impl PinInit<Self::Inode>;

    /// Takes one mount option.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a value that is not acceptable, with the reason in the kernel log.
    fn parse_option(options: &mut Self::Options, option: MountOption<'_>) -> Result<Known>;

    /// Opens the file system on the superblock's device.
    fn open(sb: &NewSuperBlock, options: &Self::Options) -> Result<Pin<KBox<Self::Super>>>;

    /// Returns the root directory of a superblock that was opened.
    fn root(sb: &SuperBlock<Self>) -> Result<ARef<FsInode<Self>>>;

    /// Starts the use of a superblock that has a root. This is the last step of a mount: a mount
    /// that fails earlier leaves the device as it was.
    fn start(sb: &SuperBlock<Self>) -> Result;

    /// Returns an error if a superblock must not be mounted. It may be in use already: mounted
    /// elsewhere, or kept by the quarantine after the end of its last mount.
    fn may_mount(sb: &SuperBlock<Self>) -> Result;

    /// Prepares for a change of the options, `read_only` among them.
    fn reconfigure(sb: &SuperBlock<Self>, options: &Self::Options, read_only: bool) -> Result;

    /// Shows the mount options as `,name=value`.
    fn show_options(sb: &SuperBlock<Self>, seq: &SeqFile);

    /// Returns the statistics for statfs.
    fn statistics(sb: &SuperBlock<Self>) -> Statistics;

    /// Makes everything durable that was written before.
    fn sync(sb: &SuperBlock<Self>) -> Result;

    /// Called when the device is gone: it cannot be read or written any more.
    fn device_is_gone(sb: &SuperBlock<Self>);

    /// Writes the inode's attributes to the device. The inode may be locked or not.
    fn write_inode(inode: &FsInode<Self>) -> Result;

    /// Frees a file without a name, whose inode is evicted. The file system cannot freeze
    /// meanwhile.
    fn evict(inode: &FsInode<Self>);

    /// Ends a mount: no inode is left, and the device still exists.
    fn put_super(sb: &SuperBlock<Self>);
}

/// Number of attempts to empty the page cache of a device that a process keeps dirtying.
const CACHE_TRIES: u32 = 4;

/// A block device.
///
/// # Invariants
///
/// The device is open for `'a`.
#[derive(Clone, Copy)]
pub(crate) struct BlockDevice<'a>(*mut bindings::block_device, PhantomData<&'a ()>);

impl<'a> BlockDevice<'a> {
    /// # Safety
    ///
    /// `sb` must point at a superblock that keeps its device for `'a`.
    unsafe fn of(sb: *mut bindings::super_block) -> Self {
        // SAFETY: The superblock exists, by this function's requirements, and keeps its device
        // open. The field does not change.
        // INVARIANT: The device stays open for `'a`, by the same requirements.
        Self(unsafe { (*sb).s_bdev }, PhantomData)
    }

    /// Returns the wrapped `struct block_device`.
    pub(in crate::rust) fn as_ptr(self) -> *mut bindings::block_device {
        self.0
    }

    /// Returns the mapping of the device's page cache.
    fn mapping(self) -> Mapping<'a> {
        // SAFETY: By the type's invariant the device is open for `'a`, and its mapping exists as
        // long.
        unsafe { Mapping::from_raw((*self.0).bd_mapping) }
    }

    /// Writes the page cache of the device back to the device, and drops all of it
    /// (`sync_blockdev()`, `invalidate_bdev()`, `invalidate_inode_pages2()`).
    ///
    /// That cache and the direct mapping are two views of one medium, and the kernel does not keep
    /// them the same. A reader of the block device gets data that was cached before the file system
    /// changed it, and data that was written to the block device may overwrite the file system at
    /// any later time. So this is called whenever a program may go from one view to the other:
    /// Documentation/block-device.rst lists the moments.
    ///
    /// `invalidate_bdev()` leaves mapped pages, and drops the buffers' references to pages, as the
    /// other call requires. A folio that is read meanwhile is locked, and the call waits for it;
    /// one that comes into the cache later is read later. So the cache has no data afterwards that
    /// is older than the call.
    ///
    /// The caller may sleep, and holds no lock that a write to the device or a page fault takes.
    ///
    /// # Errors
    ///
    /// That of a failed write-back; `EBUSY` if a process keeps writing to the device.
    fn drop_cache(self) -> Result {
        for _ in 0..CACHE_TRIES {
            let written = to_result(safe::sync_blockdev(self));
            safe::invalidate_bdev(self);
            // SAFETY: The mapping exists as long as the device. It is that of a page cache, in
            // which a page stays while it is in use.
            let dropped = unsafe { bindings::invalidate_inode_pages2(self.mapping().as_ptr()) };
            if written.is_err() || dropped == 0 {
                return written;
            }
        }
        Err(EBUSY)
    }
}

/// A superblock of the file system `F`, opened.
///
/// Wraps `struct super_block`.
///
/// # Invariants
///
/// `s_fs_info` owns a `Pin<KBox<F::Super>>`.
#[repr(transparent)]
pub(crate) struct SuperBlock<F: FileSystem>(Opaque<bindings::super_block>, PhantomData<F>);

impl<F: FileSystem> SuperBlock<F> {
    /// # Safety
    ///
    /// `ptr` must point at a superblock of `F` that was opened and stays active for `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::super_block) -> &'a Self {
        // SAFETY: `SuperBlock` is transparent to `struct super_block`, of which there is one at
        // `ptr` for `'a`, by this function's requirements.
        unsafe { &*ptr.cast() }
    }

    /// Returns the wrapped `struct super_block`.
    pub(crate) fn as_ptr(&self) -> *mut bindings::super_block {
        self.0.get()
    }

    /// Returns the file system's data of the superblock.
    pub(crate) fn data(&self) -> &F::Super {
        // SAFETY: By the type's invariant the field is a box of this type, which lives as long as
        // the superblock is active.
        unsafe { &*(*self.as_ptr()).s_fs_info.cast() }
    }

    /// Returns the DAX device.
    pub(crate) fn dax(&self) -> &dax::Device {
        self.data().as_ref()
    }

    /// Returns the quarantine.
    pub(super) fn quarantine(&self) -> &QuarantineState {
        self.data().as_ref()
    }

    /// Returns the block device.
    pub(in crate::rust) fn bdev(&self) -> BlockDevice<'_> {
        // SAFETY: An opened superblock has a device as long as it is active.
        unsafe { BlockDevice::of(self.as_ptr()) }
    }

    /// Returns whether the superblock is mounted read-only. That changes under `s_umount`, by a
    /// remount.
    pub(crate) fn is_read_only(&self) -> bool {
        // SAFETY: The superblock exists as long as the reference. The field is an aligned integer,
        // which other tasks may be writing as a whole, so it is read once, as READ_ONCE() does.
        let flags = unsafe { (&raw const (*self.as_ptr()).s_flags).read_volatile() };
        flags & bindings::pinfs_sb_rdonly != 0
    }

    /// Returns whether the device is write-protected.
    pub(crate) fn is_write_protected(&self) -> bool {
        safe::pinfs_helper_bdev_read_only(self.bdev())
    }

    /// Calls `f` with the file system frozen: everything written before is on the device.
    ///
    /// # Errors
    ///
    /// Those of `sync(2)`; then `f` was not called.
    pub(crate) fn frozen(&self, f: impl FnOnce()) -> Result {
        to_result(safe::bdev_freeze(self.bdev()))?;
        f();
        // SAFETY: It was frozen just now. Thawing fails only if the device is gone.
        unsafe { bindings::bdev_thaw(self.bdev().as_ptr()) };
        Ok(())
    }

    /// Makes readers of the block device see the data that the file system has written to it, as
    /// [`BlockDevice::drop_cache`] does. If data that other programs have written cannot be written
    /// back, their fsync(2) gets the error.
    ///
    /// The caller holds no lock of an inode.
    pub(crate) fn drop_device_cache(&self) {
        let _ = self.bdev().drop_cache();
    }

    /// Notifies watchers of the file system that metadata is damaged (`fserror_report_metadata()`).
    pub(crate) fn report_damage(&self, err: Error) {
        safe::pinfs_helper_report_metadata(self, err.to_errno());
    }

    /// Notifies watchers of the file system that it was shut down (`fserror_report_shutdown()`).
    pub(crate) fn report_shutdown(&self) {
        safe::pinfs_helper_report_shutdown(self);
    }

    /// Returns the device's name, for messages.
    pub(crate) fn id(&self) -> &CStr {
        // SAFETY: The superblock exists as long as the reference. `s_id` is a string that does not
        // change after mount.
        unsafe { CStr::from_char_ptr((*self.as_ptr()).s_id.as_ptr()) }
    }
}

/// A superblock that is being opened: it has only a block device yet.
///
/// # Invariants
///
/// Points at a superblock in its `fill_super`, which has a device, and which no other task uses.
pub(crate) struct NewSuperBlock(NonNull<bindings::super_block>, Arc<Directory>);

impl NewSuperBlock {
    /// Returns the directory in sysfs for the superblock's own directory.
    pub(super) fn sysfs(&self) -> &Directory {
        &self.1
    }

    /// Returns the device's name, for messages.
    pub(crate) fn id(&self) -> &CStr {
        // SAFETY: By the type's invariant the superblock exists. `s_id` is a string that was set
        // when the device was opened.
        unsafe { CStr::from_char_ptr((*self.0.as_ptr()).s_id.as_ptr()) }
    }

    /// Returns the DAX device of the block device, or `None` if it has none.
    pub(crate) fn dax_device(&self) -> Option<dax::Device> {
        dax::Device::of_bdev(self.bdev())
    }

    fn bdev(&self) -> BlockDevice<'_> {
        // SAFETY: By the type's invariant the superblock has a device.
        unsafe { BlockDevice::of(self.0.as_ptr()) }
    }

    /// Returns whether the device is a part of a disk with DAX that does not begin and end at page
    /// boundaries, so that it has no DAX device.
    pub(crate) fn is_misaligned(&self) -> bool {
        safe::pinfs_helper_bdev_dax_misaligned(self.bdev())
    }

    /// Returns whether the device is write-protected.
    pub(crate) fn is_write_protected(&self) -> bool {
        safe::pinfs_helper_bdev_read_only(self.bdev())
    }

    /// Returns whether the mount is to be read-only, as it must be on a write-protected device.
    pub(crate) fn is_read_only(&self) -> bool {
        // SAFETY: By the type's invariant the superblock exists, and no other task uses it.
        unsafe { (*self.0.as_ptr()).s_flags & bindings::pinfs_sb_rdonly != 0 }
    }

    /// Makes the mount read-only.
    pub(crate) fn set_read_only(&self) {
        // SAFETY: By the type's invariant the superblock exists, and no other task uses it.
        unsafe { (*self.0.as_ptr()).s_flags |= bindings::pinfs_sb_rdonly };
    }
}

/// Returns whether an inode belongs to a file system registered as `F`.
pub(super) fn is_of<F: FileSystem>(inode: &Inode) -> bool {
    // SAFETY: The inode is referenced. Its superblock outlives it, and the type outlives the
    // superblock. None of the fields changes.
    let init = unsafe { (*(*(*inode.as_ptr()).i_sb).s_type).init_fs_context };
    init.is_some_and(|init| init as usize == Thunks::<F>::init_fs_context as usize)
}

/// A cache of memory for inodes of `F` ([`Container`]).
///
/// # Invariants
///
/// The cache exists as long as the value, and is that of `F`.
struct Cache<F: FileSystem>(NonNull<bindings::kmem_cache>, PhantomData<F>);

impl<F: FileSystem> Cache<F> {
    fn new() -> Result<Self> {
        // SAFETY: The name is static, and the constructor fits the size that it is registered with.
        let cache = unsafe {
            bindings::pinfs_helper_inode_cache_create(
                F::NAME.as_char_ptr(),
                size_of::<Container<F>>() as u32,
                align_of::<Container<F>>() as u32,
                Some(Thunks::<F>::init_once),
            )
        };
        // INVARIANT: Just made.
        NonNull::new(cache)
            .map(|cache| Self(cache, PhantomData))
            .ok_or(ENOMEM)
    }
}

impl<F: FileSystem> Drop for Cache<F> {
    fn drop(&mut self) {
        // SAFETY: No superblock of `F` is left, so no inode is in use. Inodes are freed after a
        // grace period, which has to end before the cache and the code that frees into it may go.
        unsafe {
            bindings::rcu_barrier();
            bindings::kmem_cache_destroy(self.0.as_ptr());
        }
    }
}

/// The workqueue that scans inodes in quarantine.
///
/// # Invariants
///
/// The workqueue exists as long as the value.
struct Queue(NonNull<bindings::workqueue_struct>);

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant the queue exists. No superblock is left that could queue
        // more, and the call waits for queued work.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}

/// A file system type, registered as long as the value lives.
///
/// # Invariants
///
/// `fs_type` is registered until drop.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<F: FileSystem> {
    #[pin]
    fs_type: Opaque<bindings::file_system_type>,
    // Dropped in this order, after the end of the registration. Work may release the last reference
    // to an inode, which is freed after a grace period.
    queue: Queue,
    cache: Cache<F>,
    sysfs: Arc<Directory>,
    _fs: PhantomData<F>,
}

// SAFETY: Registration and its end may happen in different tasks.
unsafe impl<F: FileSystem> Send for Registration<F> {}
// SAFETY: Cache and queue have locks of their own, and a shared registration is used for nothing
// else.
unsafe impl<F: FileSystem> Sync for Registration<F> {}

impl<F: FileSystem> Registration<F> {
    /// Registers the file system. The module cannot be unloaded while a file system is mounted.
    /// Each mounted file system gets a directory in `sysfs`.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the name is taken, `ENOMEM`.
    pub(crate) fn new(
        module: &'static ThisModule,
        sysfs: Arc<Directory>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            queue: {
                let queue = NonNull::new(safe::pinfs_helper_alloc_workqueue(F::NAME));
                // INVARIANT: Just made.
                Queue(queue.ok_or(ENOMEM)?)
            },
            cache: Cache::new()?,
            sysfs,
            fs_type <- Opaque::try_ffi_init(|slot: *mut bindings::file_system_type| {
                // SAFETY: The slot is valid for writes. It is in the module data, which is static,
                // as lockdep requires for the lock classes in it, and outlives the registration.
                to_result(unsafe {
                    slot.write(bindings::file_system_type {
                        name: F::NAME.as_char_ptr(),
                        fs_flags: (bindings::FS_REQUIRES_DEV
                            | bindings::FS_ALLOW_IDMAP
                            | bindings::FS_MGTIME) as c_int,
                        init_fs_context: Some(Thunks::<F>::init_fs_context),
                        kill_sb: Some(Thunks::<F>::kill_sb),
                        owner: module.as_ptr(),
                        ..pin_init::zeroed()
                    });
                    bindings::register_filesystem(slot)
                })
            }),
            _fs: PhantomData,
        })
    }
}

impl<F: FileSystem> Registration<F> {
    /// Returns the registration that a superblock belongs to.
    ///
    /// # Safety
    ///
    /// `sb` must be a superblock of `F` that exists for `'a`.
    pub(super) unsafe fn of_super<'a>(sb: *mut bindings::super_block) -> &'a Self {
        // SAFETY: The superblock exists and is of `F`, by this function's requirements, so `s_type`
        // is the field of a registration, which outlives its superblocks.
        unsafe {
            &*(*sb)
                .s_type
                .byte_sub(offset_of!(Registration<F>, fs_type))
                .cast()
        }
    }

    /// Returns the queue that scans the inodes in quarantine of a superblock.
    pub(super) fn queue_of(sb: &SuperBlock<F>) -> *mut bindings::workqueue_struct {
        // SAFETY: The superblock is one of `F`, by its type.
        unsafe { Self::of_super(sb.as_ptr()) }.queue.0.as_ptr()
    }
}

#[pinned_drop]
impl<F: FileSystem> PinnedDrop for Registration<F> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Registered by the type's invariant; no superblock is left, or the module would
        // still be in use.
        unsafe { bindings::unregister_filesystem(self.fs_type.get()) };
    }
}

struct Thunks<F: FileSystem>(PhantomData<F>);

impl<F: FileSystem> Thunks<F> {
    const SUPER: bindings::super_operations = bindings::super_operations {
        alloc_inode: Some(Self::alloc_inode),
        free_inode: Some(Self::free_inode),
        evict_inode: Some(Self::evict_inode),
        write_inode: Some(Self::write_inode),
        put_super: Some(Self::put_super),
        sync_fs: Some(Self::sync_fs),
        freeze_fs: Some(Self::freeze_fs),
        shutdown: Some(Self::shutdown),
        statfs: Some(Self::statfs),
        show_options: Some(Self::show_options),
        ..pin_init::zeroed()
    };

    const CONTEXT: bindings::fs_context_operations = bindings::fs_context_operations {
        free: Some(Self::free_context),
        dup: None,
        parse_param: Some(Self::parse_param),
        parse_monolithic: None,
        get_tree: Some(Self::get_tree),
        reconfigure: Some(Self::reconfigure),
    };

    /// # Safety
    ///
    /// `fc` must be a context that the VFS is initialising.
    unsafe extern "C" fn init_fs_context(fc: *mut kernel::bindings::fs_context) -> c_int {
        from_result(|| {
            let fc = fc.cast::<bindings::fs_context>();
            let options = KBox::new(F::Options::default(), GFP_KERNEL)?;
            // SAFETY: The VFS calls with a context for this function to fill; `free_context` frees
            // the box.
            unsafe {
                (*fc).fs_private = options.into_foreign();
                (*fc).ops = &Self::CONTEXT;
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `fc` must have been through `init_fs_context`.
    unsafe extern "C" fn free_context(fc: *mut bindings::fs_context) {
        // SAFETY: `init_fs_context` put the box there, and the VFS frees a context once.
        unsafe {
            if !(*fc).fs_private.is_null() {
                drop(KBox::<F::Options>::from_foreign((*fc).fs_private));
            }
        }
    }

    /// # Safety
    ///
    /// `fc` must have been through `init_fs_context`, `param` must be valid.
    unsafe extern "C" fn parse_param(
        fc: *mut bindings::fs_context,
        param: *mut bindings::fs_parameter,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The VFS calls with a context, which one task at a time uses, and a parameter.
            // The key is a string, and so is the value if its type says so. `init_fs_context` has
            // stored the box.
            let (options, option) = unsafe {
                let ret = bindings::vfs_parse_fs_param_source(fc, param);
                if ret != -(bindings::ENOPARAM as c_int) {
                    return to_result(ret).map(|()| 0);
                }
                let option = MountOption {
                    name: CStr::from_char_ptr((*param).key).to_bytes(),
                    value: if (*param).type_() == bindings::fs_value_type_fs_value_is_string {
                        Some(CStr::from_char_ptr((*param).__bindgen_anon_1.string).to_bytes())
                    } else {
                        None
                    },
                };
                (&mut *(*fc).fs_private.cast::<F::Options>(), option)
            };
            match F::parse_option(options, option)? {
                Known::Yes => Ok(0),
                Known::No => Ok(-(bindings::ENOPARAM as c_int)),
            }
        })
    }

    /// # Safety
    ///
    /// `fc` must have been through `init_fs_context`.
    unsafe extern "C" fn get_tree(fc: *mut bindings::fs_context) -> c_int {
        from_result(|| {
            // SAFETY: The VFS calls with a context, and `fill_super` is for a superblock of such.
            // If that succeeds, the context has a root, whose superblock it holds active and with
            // `s_umount` locked. All of it is released if the mount is refused.
            unsafe {
                to_result(bindings::get_tree_bdev(fc, Some(Self::fill_super)))?;
                let sb = (*(*fc).root).d_sb;
                F::may_mount(SuperBlock::from_raw(sb)).inspect_err(|_| {
                    bindings::dput((*fc).root);
                    (*fc).root = core::ptr::null_mut();
                    bindings::deactivate_locked_super(sb);
                })?;
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `fc` must be a context for reconfiguring a superblock of `F`.
    unsafe extern "C" fn reconfigure(fc: *mut bindings::fs_context) -> c_int {
        from_result(|| {
            // SAFETY: A context for reconfiguration has a root; its superblock is opened, and held
            // by the caller with its `s_umount`. `init_fs_context` has stored the box, and contexts
            // are used by one task at a time.
            let (sb, flags, options, synced) = unsafe {
                let sb = SuperBlock::<F>::from_raw((*(*fc).root).d_sb);
                let options = &*(*fc).fs_private.cast::<F::Options>();
                let synced = to_result(bindings::sync_filesystem(sb.as_ptr()));
                (sb, (*fc).sb_flags as usize, options, synced)
            };
            let read_only = flags & bindings::pinfs_sb_rdonly != 0;
            let done = if flags & bindings::pinfs_sb_force == 0 {
                synced.and_then(|()| F::reconfigure(sb, options, read_only))
            } else {
                // An error would not stop an emergency remount, but would make the kernel warn.
                let _ = F::reconfigure(sb, options, read_only).inspect_err(|err| {
                    pr_err!("{}: emergency remount: {err:?}\n", sb.id());
                });
                Ok(())
            };
            sb.drop_device_cache();
            done.map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// The arguments must be as in the call of `get_tree_bdev()`.
    unsafe extern "C" fn fill_super(
        sb: *mut bindings::super_block,
        fc: *mut bindings::fs_context,
    ) -> c_int {
        from_result(|| {
            // SAFETY: `get_tree_bdev()` calls with a superblock that has a device, and its name.
            let (id, bdev) = unsafe {
                (
                    CStr::from_char_ptr((*sb).s_id.as_ptr()),
                    BlockDevice::of(sb),
                )
            };
            // The mount must see the last writes through the cache.
            match bdev.drop_cache() {
                Err(EBUSY) => pr_warn!(
                    "{id}: a process keeps writing to the device, and may overwrite the file \
                     system\n"
                ),
                written => written.inspect_err(|_| {
                    pr_err!(
                        "{id}: cannot write the page cache of the device back; the contents of \
                         the device may be incomplete\n"
                    );
                })?,
            }
            // SAFETY: The arguments are those of `get_tree_bdev()`'s call.
            let filled = unsafe { Self::open_super(sb, fc) };
            // Recovery has changed the contents of the device, also if the mount fails after it.
            let _ = bdev.drop_cache();
            filled.map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// The requirements of `fill_super`.
    unsafe fn open_super(sb: *mut bindings::super_block, fc: *mut bindings::fs_context) -> Result {
        // SAFETY: The superblock is of `F`, and in its `fill_super`, by this function's
        // requirements. `init_fs_context` has stored the box, and contexts are used by one task at
        // a time.
        let (sysfs, options) = unsafe {
            (
                Registration::<F>::of_super(sb).sysfs.clone(),
                &*(*fc).fs_private.cast::<F::Options>(),
            )
        };
        // INVARIANT: The superblock is in its `fill_super`, by the same requirements.
        let new = NewSuperBlock(NonNull::new(sb).ok_or(EINVAL)?, sysfs);
        let data = F::open(&new, options)?;
        // SAFETY: The superblock is in its `fill_super`, which may fill it. `kill_sb` frees the
        // box.
        // INVARIANT: From here on it is an opened superblock of `F`.
        let sb = unsafe {
            (*sb).s_fs_info = data.into_foreign();
            (*sb).s_op = &Self::SUPER;
            (*sb).s_xattr = xattr::Thunks::<F::Xattrs>::HANDLERS.as_ptr();
            (*sb).s_flags |= bindings::pinfs_sb_flags;
            (*sb).s_export_op = F::EXPORT.as_ptr().cast();
            (*sb).s_maxbytes = bindings::pinfs_max_lfs_filesize;
            (*sb).s_time_gran = F::TIME_GRANULARITY;
            (*sb).s_time_min = i64::MIN;
            (*sb).s_time_max = i64::MAX;
            SuperBlock::<F>::from_raw(sb)
        };
        let statistics = F::statistics(sb);
        // SAFETY: The superblock is in its `fill_super`, which may fill it.
        unsafe {
            (*sb.as_ptr()).s_magic = statistics.magic as usize;
            if bindings::sb_set_blocksize(sb.as_ptr(), statistics.block_size as c_int) == 0 {
                return Err(EINVAL);
            }
            bindings::pinfs_helper_super_set_uuid(sb.as_ptr(), statistics.uuid.as_ptr());
            bindings::pinfs_helper_super_set_sysfs_name(sb.as_ptr());
        }
        let root = F::root(sb)?;
        // SAFETY: `d_make_root` takes over the reference, also when it fails. The superblock is in
        // its `fill_super`, which may fill it.
        unsafe {
            let root = bindings::d_make_root(ARef::into_raw(root).as_ref().as_ptr());
            if root.is_null() {
                return Err(ENOMEM);
            }
            (*sb.as_ptr()).s_root = root;
        }
        // With a root, a failure ends in `put_super` like any other mount.
        F::start(sb)
    }

    /// # Safety
    ///
    /// `sb` must be a superblock of `F` that is going away.
    unsafe extern "C" fn kill_sb(sb: *mut bindings::super_block) {
        // SAFETY: The VFS calls with a superblock that no other task uses any more.
        // `kill_block_super` is the last to use its operations; `s_fs_info` is null if `open`
        // failed, and else a box.
        unsafe {
            bindings::kill_block_super(sb);
            let data = (*sb).s_fs_info;
            if !data.is_null() {
                (*sb).s_fs_info = core::ptr::null_mut();
                drop(Pin::<KBox<F::Super>>::from_foreign(data));
            }
        }
    }

    /// # Safety
    ///
    /// `ptr` must point at memory for a `Container<F>`.
    unsafe extern "C" fn init_once(ptr: *mut c_void) {
        // SAFETY: The cache calls with memory for a container, whose first field is the inode.
        unsafe { bindings::inode_init_once(ptr.cast()) };
    }

    /// # Safety
    ///
    /// `sb` must be a superblock of `F`.
    unsafe extern "C" fn alloc_inode(sb: *mut bindings::super_block) -> *mut bindings::inode {
        // SAFETY: The superblock is of `F`, by this function's requirements, and the cache that of
        // its registration. The memory was just allocated, and `data` is uninitialised. Inodes
        // never move.
        unsafe {
            let registration = Registration::<F>::of_super(sb);
            let container =
                bindings::pinfs_helper_inode_cache_alloc(sb, registration.cache.0.as_ptr())
                    .cast::<Container<F>>();
            if container.is_null() {
                return core::ptr::null_mut();
            }
            quarantine::init(container);
            compat::init_in_place(&raw mut (*container).data, F::new_inode());
            Opaque::cast_into(&raw const (*container).inode)
        }
    }

    /// # Safety
    ///
    /// `inode` must be an inode of `F` that no task can reach any more.
    ///
    /// This is an RCU call-back: the superblock may already be freed, as its own call-backs may
    /// have ended on another processor. So this does not look up the cache in it; `kfree()` finds
    /// it by itself.
    unsafe extern "C" fn free_inode(inode: *mut bindings::inode) {
        let container = inode.cast::<Container<F>>();
        // SAFETY: No task uses the inode; the data was initialised by `alloc_inode`, which took the
        // memory from a cache that stays until all such call-backs have ended.
        unsafe {
            free_link(inode);
            core::ptr::drop_in_place(&raw mut (*container).data);
            quarantine::free(container);
            bindings::kfree(container.cast());
        }
    }

    /// # Safety
    ///
    /// `inode` must be an inode of `F` that the VFS evicts.
    unsafe extern "C" fn evict_inode(inode: *mut bindings::inode) {
        // SAFETY: The inode is in state `I_FREEING`: no other task uses it.
        unsafe {
            // A file with referenced pages is in quarantine, which has a reference to the inode. So
            // this does not wait, and empties the mapping.
            bindings::dax_break_layout_final(inode);
            bindings::truncate_inode_pages_final(&raw mut (*inode).i_data);
            if !bindings::is_bad_inode(inode) && (*inode).__bindgen_anon_1.i_nlink == 0 {
                bindings::pinfs_helper_sb_start_intwrite(inode);
                F::evict(FsInode::from_raw(inode));
                bindings::pinfs_helper_sb_end_intwrite(inode);
            }
            bindings::clear_inode(inode);
        }
    }

    /// # Safety
    ///
    /// The arguments must be as in the VFS's call of `write_inode`.
    unsafe extern "C" fn write_inode(
        inode: *mut bindings::inode,
        _wbc: *mut bindings::writeback_control,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The inode is of `F` and held by the caller.
            F::write_inode(unsafe { FsInode::from_raw(inode) })?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `sb` must be an opened superblock of `F`.
    unsafe extern "C" fn put_super(sb: *mut bindings::super_block) {
        // SAFETY: The VFS calls with a superblock that was opened and is not closed yet.
        let sb = unsafe { SuperBlock::from_raw(sb) };
        F::put_super(sb);
        sb.drop_device_cache();
    }

    /// # Safety
    ///
    /// `sb` must be an opened superblock of `F`.
    unsafe extern "C" fn sync_fs(sb: *mut bindings::super_block, wait: c_int) -> c_int {
        from_result(|| {
            if wait != 0 {
                // SAFETY: The VFS calls with a superblock that is opened, and active for the call.
                F::sync(unsafe { SuperBlock::from_raw(sb) })?;
            }
            Ok(0)
        })
    }

    /// Syncs the file system. The VFS excludes writers before the call.
    ///
    /// # Safety
    ///
    /// `sb` must be an opened superblock of `F`.
    unsafe extern "C" fn freeze_fs(sb: *mut bindings::super_block) -> c_int {
        // SAFETY: The VFS calls with a superblock that is opened, and active for the call.
        unsafe {
            quarantine::frozen(SuperBlock::<F>::from_raw(sb));
            let synced = Self::sync_fs(sb, 1);
            SuperBlock::<F>::from_raw(sb).drop_device_cache();
            synced
        }
    }

    /// # Safety
    ///
    /// `sb` must be an opened superblock of `F`.
    unsafe extern "C" fn shutdown(sb: *mut bindings::super_block) {
        // SAFETY: The VFS calls with a superblock that is opened, and active for the call.
        F::device_is_gone(unsafe { SuperBlock::from_raw(sb) });
    }

    /// # Safety
    ///
    /// `dentry` must be of an opened superblock of `F`, and `statfs` must be valid.
    unsafe extern "C" fn statfs(
        dentry: *mut bindings::dentry,
        statfs: *mut kernel::bindings::kstatfs,
    ) -> c_int {
        // SAFETY: The VFS calls with a dentry of a superblock that is opened, and active for the
        // call, and with a valid `statfs`.
        unsafe {
            let sb = SuperBlock::<F>::from_raw((*dentry).d_sb);
            // Files that are being evicted count as free, unless their pages are referenced.
            quarantine::wait_idle(sb);
            let statistics = F::statistics(sb);
            let out = &mut *statfs.cast::<bindings::kstatfs>();
            out.f_type = statistics.magic as isize;
            out.f_bsize = statistics.block_size as isize;
            out.f_blocks = statistics.blocks;
            out.f_bfree = statistics.free_blocks;
            out.f_bavail = statistics.available_blocks;
            out.f_files = statistics.inodes;
            out.f_ffree = statistics.free_inodes;
            out.f_namelen = statistics.name_max as isize;
            out.f_fsid = bindings::pinfs_helper_uuid_to_fsid(statistics.uuid.as_ptr());
        }
        0
    }

    /// # Safety
    ///
    /// `seq` must be valid and `dentry` of an opened superblock of `F`.
    unsafe extern "C" fn show_options(
        seq: *mut bindings::seq_file,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        // SAFETY: The VFS calls with a dentry of a superblock that is opened, and active for the
        // call, and with a file that the current task prints to.
        unsafe { F::show_options(SuperBlock::from_raw((*dentry).d_sb), SeqFile::from_raw(seq)) };
        0
    }
}
