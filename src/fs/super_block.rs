// SPDX-License-Identifier: GPL-2.0

//! Mount, umount and other operations of the file system as a whole.

use super::{
    errno,
    export,
    inode::{
        self,
        Data,
        MapsRead,
        MapsWritten, //
    },
    recovery,
    state::FsState,
    xattr, //
};
use crate::{
    engine::{
        self,
        extents,
        journal::{
            self,
            Recovered, //
        },
        mount,
        orphan,
        run::{
            self,
            BlockRun, //
        },
        space,
        Journal,
        Medium,
        Space,
        Tx,
        Volume, //
    },
    ondisk::{
        self,
        crc::Checksum,
        extent::Extent,
        superblock::LABEL_MAX,
        Geometry,
        MountError,
        Time, //
    },
    rust::{
        dax,
        pmem::{
            self,
            Access,
            Region, //
        },
        vfs::{
            self,
            super_block::{
                Known,
                MountOption,
                NewSuperBlock,
                Statistics, //
            },
            FileSystem,
            FsInode,
            QuarantineState,
            SuperBlock, //
        }, //
    }, //
};
use kernel::{
    c_str,
    new_mutex,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    str::CStr,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex, //
    }, //
};

/// Magic of statfs(2): the bytes "pinf" (`PINFS_SUPER_MAGIC`).
const MAGIC: u32 = crate::rust::uapi::PINFS_SUPER_MAGIC;

/// The file system type.
pub(crate) struct Pinfs;

/// The device as a [`Medium`] of the engine.
pub(super) struct Pmem {
    region: Region,
    /// A bit for each block whose checksum was verified since the mount.
    verified: KVVec<Atomic<u64>>,
}

impl Pmem {
    fn new(region: Region) -> Result<Self> {
        let words = (region.len() / ondisk::BLOCK_SIZE).div_ceil(u64::BITS.into());
        let words = usize::try_from(words)?;
        let mut verified = KVVec::with_capacity(words, GFP_KERNEL)?;
        for _ in 0..words {
            verified.push(Atomic::new(0), GFP_KERNEL)?;
        }
        Ok(Self { region, verified })
    }

    /// Keeps the device from removal for more than one access.
    pub(super) fn session(&self) -> ondisk::Result<Session<'_>> {
        let access = io(self.region.access())?;
        Ok(Session { pmem: self, access })
    }

    /// Returns the word of block `block`, and its bit in the word.
    fn mark(&self, block: u64) -> Option<(&Atomic<u64>, u64)> {
        let word = usize::try_from(block / u64::from(u64::BITS)).ok()?;
        let bit = 1 << (block % u64::from(u64::BITS));
        self.verified.get(word).map(|word| (word, bit))
    }
}

/// Changes bits of a word while other tasks may change others.
fn update(word: &Atomic<u64>, change: impl Fn(u64) -> u64) {
    let mut old = word.load(Relaxed);
    while let Err(seen) = word.cmpxchg(old, change(old), Relaxed) {
        old = seen;
    }
}

/// The device, which cannot be removed meanwhile.
pub(super) struct Session<'a> {
    pmem: &'a Pmem,
    access: Access<'a>,
}

impl Session<'_> {
    /// Returns whether one of the blocks of `run` is in the mapping of a file other than `inode`.
    pub(super) fn is_mapped_elsewhere(&self, run: BlockRun, inode: &FsInode<Pinfs>) -> bool {
        let (start, len) = (run.start * ondisk::BLOCK_SIZE, run.len * ondisk::BLOCK_SIZE);
        self.access.is_mapped_elsewhere(start, len, inode)
    }
}

/// Turns an error of the device into the engine's.
fn io<R>(result: Result<R>) -> ondisk::Result<R> {
    result.map_err(|_| ondisk::Error::Io)
}

impl Checksum for Session<'_> {
    fn crc32c(&self, crc: u32, data: &[u8]) -> u32 {
        self.pmem.crc32c(crc, data)
    }

    fn xxh64(&self, seed: u64, data: &[u8]) -> u64 {
        self.pmem.xxh64(seed, data)
    }
}

impl Medium for Session<'_> {
    fn size(&self) -> u64 {
        self.pmem.size()
    }

    fn read(&self, off: u64, buf: &mut [u8]) -> ondisk::Result {
        io(self.access.read(off, buf))
    }

    fn write(&self, off: u64, data: &[u8]) -> ondisk::Result {
        io(self.access.write(off, data))
    }

    fn zero(&self, off: u64, len: u64) -> ondisk::Result {
        io(self.access.zero(off, len))
    }

    fn flush(&self, off: u64, len: u64) -> ondisk::Result {
        io(self.access.flush(off, len))
    }

    fn store(&self, off: u64, data: &[u8]) -> ondisk::Result {
        io(self.access.store(off, data))
    }

    fn stream(&self, off: u64, data: &[u8]) -> ondisk::Result {
        io(self.access.stream(off, data))
    }

    fn copy(&self, from: u64, to: u64, len: u64) -> ondisk::Result {
        io(self.access.copy(from, to, len))
    }

    fn fence(&self) {
        self.pmem.fence();
    }

    fn is_verified(&self, block: u64) -> bool {
        self.pmem.is_verified(block)
    }

    fn set_verified(&self, block: u64) {
        self.pmem.set_verified(block);
    }

    fn forget_verified(&self, start: u64, len: u64) {
        self.pmem.forget_verified(start, len);
    }

    fn any_verified(&self, start: u64, len: u64) -> bool {
        self.pmem.any_verified(start, len)
    }

    fn is_mapped(&self, start: u64, len: u64) -> bool {
        self.access
            .is_mapped(start * ondisk::BLOCK_SIZE, len * ondisk::BLOCK_SIZE)
    }
}

impl Checksum for Pmem {
    fn crc32c(&self, crc: u32, data: &[u8]) -> u32 {
        pmem::crc32c(crc, data)
    }

    fn xxh64(&self, seed: u64, data: &[u8]) -> u64 {
        pmem::xxh64(seed, data)
    }
}

impl Medium for Pmem {
    fn size(&self) -> u64 {
        self.region.len()
    }

    fn read(&self, off: u64, buf: &mut [u8]) -> ondisk::Result {
        self.session()?.read(off, buf)
    }

    fn write(&self, off: u64, data: &[u8]) -> ondisk::Result {
        self.session()?.write(off, data)
    }

    fn zero(&self, off: u64, len: u64) -> ondisk::Result {
        self.session()?.zero(off, len)
    }

    fn flush(&self, off: u64, len: u64) -> ondisk::Result {
        self.session()?.flush(off, len)
    }

    fn store(&self, off: u64, data: &[u8]) -> ondisk::Result {
        self.session()?.store(off, data)
    }

    fn stream(&self, off: u64, data: &[u8]) -> ondisk::Result {
        self.session()?.stream(off, data)
    }

    fn copy(&self, from: u64, to: u64, len: u64) -> ondisk::Result {
        self.session()?.copy(from, to, len)
    }

    fn fence(&self) {
        self.region.fence();
    }

    fn is_verified(&self, block: u64) -> bool {
        self.mark(block)
            .is_some_and(|(word, bit)| word.load(Relaxed) & bit != 0)
    }

    fn set_verified(&self, block: u64) {
        if let Some((word, bit)) = self.mark(block) {
            update(word, |bits| bits | bit);
        }
    }

    fn forget_verified(&self, start: u64, len: u64) {
        let mut block = start;
        let end = start.saturating_add(len);
        while block < end {
            let Some((word, _)) = self.mark(block) else {
                return;
            };
            let next = (block / 64 + 1) * 64;
            if word.load(Relaxed) != 0 {
                let gone = run::mask(block / 64, block..next.min(end));
                update(word, |bits| bits & !gone);
            }
            block = next;
        }
    }

    fn any_verified(&self, start: u64, len: u64) -> bool {
        let end = start.saturating_add(len);
        (start / 64..end.div_ceil(64)).any(|number| {
            let found = self.mark(number * 64);
            found.is_some_and(|(word, _)| word.load(Relaxed) & run::mask(number, start..end) != 0)
        })
    }

    fn is_mapped(&self, start: u64, len: u64) -> bool {
        let device: &dax::Device = self.region.as_ref();
        // A device that was removed has no pages.
        device.may_be_mapped(start * ondisk::BLOCK_SIZE, len * ondisk::BLOCK_SIZE)
            && self
                .session()
                .is_ok_and(|session| session.is_mapped(start, len))
    }
}

/// State that a transaction uses exclusively: the journal and the free space.
struct Writer {
    journal: Journal<KVVec<u8>>,
    space: Space<KVVec<u64>>,
}

/// A mounted file system.
#[pin_data]
pub(crate) struct Super {
    volume: Volume<Pmem>,
    #[pin]
    writer: Mutex<Writer>,
    quarantine: QuarantineState,
    state: FsState,
    /// The journal was not replayed (mount option `norecovery`).
    norecovery: bool,
}

impl AsRef<QuarantineState> for Super {
    fn as_ref(&self) -> &QuarantineState {
        &self.quarantine
    }
}

impl AsRef<dax::Device> for Super {
    fn as_ref(&self) -> &dax::Device {
        self.volume.medium().region.as_ref()
    }
}

impl Super {
    /// Returns the volume, for reads of inodes without a transaction.
    pub(super) fn volume<'a>(&'a self, _maps: &'a impl MapsRead) -> &'a Volume<Pmem> {
        &self.volume
    }

    /// Returns the device.
    pub(super) fn medium(&self) -> &Pmem {
        self.volume.medium()
    }

    /// Returns the state of the file system.
    pub(super) fn state(&self) -> &FsState {
        &self.state
    }

    /// Implements [`SuperBlock::transact`]. The outer error is about the file system as a whole.
    pub(super) fn transact<R>(
        &self,
        _maps: &impl MapsWritten,
        operation: impl FnOnce(&mut Tx<'_, Session<'_>>) -> ondisk::Result<R>,
    ) -> Result<ondisk::Result<R>> {
        let mut writer = self.writer.lock();
        self.state.check_writable()?;
        Ok(self.run(&mut writer, operation))
    }

    /// Does the same as [`Super::transact`] for [`recovery`], while the file system is idle.
    pub(super) fn transact_idle<R>(
        &self,
        _maps: &impl MapsWritten,
        operation: impl FnOnce(&mut Tx<'_, Session<'_>>) -> ondisk::Result<R>,
    ) -> Result<ondisk::Result<R>> {
        let mut writer = self.writer.lock();
        self.state.check_sound()?;
        Ok(self.run(&mut writer, operation))
    }

    fn run<R>(
        &self,
        writer: &mut Writer,
        operation: impl FnOnce(&mut Tx<'_, Session<'_>>) -> ondisk::Result<R>,
    ) -> ondisk::Result<R> {
        let Writer { journal, space } = writer;
        self.volume
            .medium()
            .session()
            .and_then(|session| journal.run(&self.volume.through(session), space, operation))
    }

    /// Returns whether the journal was not replayed before the mount.
    pub(super) fn is_unrecovered(&self) -> bool {
        self.norecovery
    }

    /// Marks an idle file system as in use on the device, and returns the inodes on the orphan
    /// list. It stays idle, so the list does not change. Calls `failed` with inodes that
    /// [`orphan::list`] removes.
    pub(super) fn claim(
        &self,
        failed: impl FnMut(u64, ondisk::Error),
    ) -> Result<ondisk::Result<Orphans>> {
        let mut writer = self.writer.lock();
        self.state.check_sound()?;
        let mut orphans = Orphans::default();
        let mut pushed = Ok(());
        let found = |ino, inode: &ondisk::Inode| {
            let list = if inode.nlink.get() != 0 {
                &mut orphans.named
            } else {
                &mut orphans.unnamed
            };
            if pushed.is_ok() {
                pushed = list.push(ino, GFP_KERNEL).map_err(Error::from);
            }
        };
        let Writer { journal, space } = &mut *writer;
        let listed = self.medium().session().and_then(|session| {
            let volume = self.volume.through(session);
            orphan::list(journal, &volume, space, found, failed)
        });
        pushed?;
        Ok(listed
            .and_then(|()| self.run(&mut writer, |tx| mount::mounted(tx, now())))
            .map(|()| orphans))
    }

    /// Returns whether a commit has failed, so that no write is possible.
    pub(super) fn is_aborted(&self) -> bool {
        self.writer.lock().journal.is_aborted()
    }

    /// Allows changes, after [`Super::claim`].
    pub(super) fn start_writing(&self) {
        self.state.set_idle(false);
    }

    /// Makes the file system idle, and marks it as not in use. The next mount only has to work off
    /// the orphan list.
    pub(super) fn stop_writing(&self) -> ondisk::Result {
        let mut writer = self.writer.lock();
        self.state.set_idle(true);
        self.run(&mut writer, |tx| mount::unmounted(tx, now()))?;
        writer.journal.retire(&self.volume)
    }

    /// Returns the label. The lock keeps it from changing meanwhile.
    pub(super) fn label(&self) -> ondisk::Result<[u8; LABEL_MAX]> {
        let _writer = self.writer.lock();
        mount::status(&self.volume).map(|status| status.label())
    }

    /// Claims blocks for a file ([`extents::claim_extent`]). On an error none are claimed.
    pub(super) fn claim_extent(
        &self,
        last: Option<Extent>,
        lblock: u64,
        len: u64,
    ) -> Result<ondisk::Result<Extent>> {
        let mut writer = self.writer.lock();
        self.state.check_writable()?;
        let claim_extent = extents::claim_extent(&mut writer.space, last, lblock, len);
        // A transaction checks the same.
        let is_mapped = |extent: &Extent| self.medium().is_mapped(extent.block, extent.len);
        if let Some(extent) = claim_extent
            .as_ref()
            .ok()
            .filter(|extent| is_mapped(extent))
        {
            writer.space.give_back(BlockRun {
                start: extent.block,
                len: extent.len,
            });
            return Ok(Err(ondisk::Error::Corrupt(engine::tx::MAPPED)));
        }
        Ok(claim_extent)
    }

    /// Releases claimed blocks that are not needed.
    pub(super) fn give_back(&self, run: BlockRun) {
        self.writer.lock().space.give_back(run);
    }

    /// Waits for the transaction in progress.
    pub(super) fn drain(&self) {
        drop(self.writer.lock());
    }
}

/// The inodes that [`Super::claim`] found on the orphan list.
#[derive(Default)]
pub(super) struct Orphans {
    /// Files with an unfinished truncate or collapse.
    pub(super) named: KVVec<u64>,
    /// Inodes without names.
    pub(super) unnamed: KVVec<u64>,
}

/// Logs why a file system cannot be mounted, and returns the errno.
fn refuse(id: &CStr, err: ondisk::Error) -> Error {
    if let ondisk::Error::Corrupt(what) = err {
        pr_err!("{id}: {what}: the file system is damaged; run fsck.pinfs\n");
    }
    errno(err)
}

/// Mount options.
#[derive(Default)]
pub(crate) struct Options {
    /// Leave the journal and the orphan list as they are.
    norecovery: bool,
}

fn now() -> Time {
    let now = vfs::inode::Time::now();
    Time {
        sec: now.sec,
        nsec: now.nsec,
    }
}

/// The kernel's formatting uses its own traits.
impl kernel::fmt::Display for MountError {
    fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

/// Opens the volume on a device. Logs the reason on failure.
fn open_volume(id: &CStr, region: Region) -> Result<Volume<Pmem>> {
    Volume::open(Pmem::new(region)?).map_err(|refusal| {
        match refusal {
            MountError::NotPinfs => {
                pr_err!(
                    "{id}: no pinfs superblock; if there was one, fsck.pinfs restores it; \
                     mkfs.pinfs makes a new file system\n"
                )
            }
            refusal => pr_err!("{id}: {refusal}\n"),
        }
        Error::from_errno(refusal.errno())
    })
}

/// Recovery that a mount may do after a crash.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Recovery {
    /// Full recovery.
    Full,
    /// None. If the journal has to be replayed, the mount fails.
    Refuse,
    /// None.
    Skip,
}

/// Completes a commit that a crash interrupted, and reads the data for transactions.
fn load(id: &CStr, volume: &Volume<Pmem>, recovery: Recovery) -> Result<Writer> {
    if recovery == Recovery::Skip {
        return load_unrecovered(id, volume);
    }
    if recovery == Recovery::Refuse
        && journal::needs_recovery(volume).map_err(|err| refuse(id, err))?
    {
        pr_err!(
            "{id}: the journal has to be replayed and the device must not be written; \
             -o ro,norecovery mounts it as it is\n"
        );
        return Err(EROFS);
    }
    if let Recovered::Replayed(bytes) = journal::recover(volume).map_err(|err| refuse(id, err))? {
        pr_info!("{id}: journal replayed ({bytes} bytes)\n");
    }
    let arena = KVVec::from_elem(0, journal::ARENA_BYTES, GFP_KERNEL)?;
    Ok(Writer {
        space: Space::load(volume, words(volume)?).map_err(|err| refuse(id, err))?,
        journal: Journal::new(volume, arena).map_err(|err| refuse(id, err))?,
    })
}

/// Allocates the memory of a [`Space`].
fn words(volume: &Volume<Pmem>) -> Result<KVVec<u64>> {
    let words = usize::try_from(space::words_needed(volume.geometry().blocks))?;
    Ok(KVVec::from_elem(0, words, GFP_KERNEL)?)
}

/// Reads the data for a mount that never writes. A commit may be incomplete on the bitmaps; then
/// the free space is unknown.
fn load_unrecovered(id: &CStr, volume: &Volume<Pmem>) -> Result<Writer> {
    if !matches!(journal::needs_recovery(volume), Ok(false)) {
        pr_warn!("{id}: the journal is not replayed; reads may be inconsistent\n");
    }
    let space = match Space::load(volume, words(volume)?) {
        Ok(space) => space,
        Err(_) => Space::unknown(volume, words(volume)?).map_err(|err| refuse(id, err))?,
    };
    Ok(Writer {
        space,
        journal: Journal::closed(KVVec::new()),
    })
}

impl Writer {
    /// Finishes the work on the orphan list after a crash. The file system is not in use yet. An
    /// inode whose work fails does not fail the mount: it is left to fsck.
    fn finish_orphans(&mut self, id: &CStr, volume: &Volume<Pmem>) -> ondisk::Result {
        let Self { journal, space } = self;
        let mut failed = false;
        orphan::work_off(journal, volume, space, |ino, err| {
            failed = true;
            recovery::say_set_aside(id, ino, err);
        })?;
        if failed {
            mount::ask_for_check(volume.medium())?;
        }
        Ok(())
    }

    /// Starts writing at a mount: marks the file system as in use, and works off the orphan list.
    fn activate(&mut self, id: &CStr, volume: &Volume<Pmem>) -> ondisk::Result {
        let Self { journal, space } = self;
        journal.run(volume, space, |tx| mount::mounted(tx, now()))?;
        self.finish_orphans(id, volume)
    }

    /// Works off the orphan list before a read-only mount, so that there is none of it while the
    /// file system is in use, at a remount for writing. ext4 and xfs do so, too. Writes nothing if
    /// the list is empty.
    fn recover_read_only(&mut self, id: &CStr, volume: &Volume<Pmem>) -> ondisk::Result {
        if !mount::status(volume)?.has_orphans() {
            return Ok(());
        }
        self.finish_orphans(id, volume)?;
        self.journal.retire(volume)
    }
}

impl FileSystem for Pinfs {
    const NAME: &'static CStr = c_str!("pinfs");
    const TIME_GRANULARITY: u32 = 1;
    const EXPORT: vfs::export::Table<Self> = export::TABLE;

    type Xattrs = xattr::Xattrs;
    type Super = Super;
    type Inode = Data;
    type Options = Options;

    fn new_inode() -> impl PinInit<Data> {
        Data::new()
    }

    fn parse_option(options: &mut Options, option: MountOption<'_>) -> Result<Known> {
        match (option.name, option.value) {
            (b"norecovery", None) => {
                options.norecovery = true;
                Ok(Known::Yes)
            }
            (b"dax", None | Some(b"always")) => Ok(Known::Yes),
            (b"dax", Some(b"never" | b"inode")) => {
                pr_err!("pinfs is always mounted with dax=always; leave the dax option out\n");
                Err(EINVAL)
            }
            // mount(8) repeats the options of /proc/mounts. A remount reports the state by itself.
            (b"emergency_ro" | b"shutdown", None) => Ok(Known::Yes),
            (b"dax", Some(_)) => {
                pr_err!("the dax option takes only the value always\n");
                Err(EINVAL)
            }
            _ => Ok(Known::No),
        }
    }

    fn open(sb: &NewSuperBlock, options: &Options) -> Result<Pin<KBox<Super>>> {
        let id = sb.id();
        let norecovery = options.norecovery;
        if norecovery && !sb.is_read_only() {
            pr_err!("{id}: norecovery is for read-only mounts; give ro with it\n");
            return Err(EINVAL);
        }
        let device = sb.dax_device().ok_or_else(|| {
            if sb.is_misaligned() {
                pr_err!(
                    "{id}: the partition is not aligned: it must begin and end at a multiple of \
                     4096 bytes, better of 2 MiB\n"
                );
            } else {
                pr_err!(
                    "{id}: the device has no DAX; only whole namespaces in fsdax mode and their \
                     partitions have it (man 5 pinfs; changing the mode destroys all data)\n"
                );
            }
            EINVAL
        })?;
        let region = Region::map(device).inspect_err(|_| {
            pr_err!(
                "{id}: the device cannot be mapped as a whole: it has bad blocks (ndctl list -M), or \
                 is made of several pieces\n"
            );
        })?;
        let volume = open_volume(id, region)?;
        let geometry: &Geometry = volume.geometry();
        if geometry.read_only && !sb.is_read_only() {
            pr_warn!("{id}: unknown read-only compatible features; mounted read-only\n");
            sb.set_read_only();
        }
        let recovery = if norecovery {
            Recovery::Skip
        } else if sb.is_write_protected() || geometry.read_only {
            Recovery::Refuse
        } else {
            Recovery::Full
        };
        let writer = load(id, &volume, recovery).inspect_err(|err| {
            let damaged = err.to_errno() == errno(ondisk::Error::Corrupt("")).to_errno();
            let may_write = matches!(recovery, Recovery::Full);
            // Otherwise fsck.pinfs would take it for clean, if it was unmounted cleanly.
            if may_write && damaged && mount::ask_for_check(volume.medium()).is_err() {
                pr_warn!("{id}: run fsck.pinfs -f\n");
            }
        })?;
        KBox::try_pin_init(
            try_pin_init!(Super {
                volume,
                writer <- new_mutex!(writer, "pinfs_journal"),
                quarantine: QuarantineState::new(sb)?,
                state: FsState::new(),
                norecovery,
            }),
            GFP_KERNEL,
        )
    }

    fn root(sb: &SuperBlock<Self>) -> Result<ARef<FsInode<Self>>> {
        let root = inode::named(sb, sb.data().volume.geometry().root_ino)?;
        if root.is_dir() {
            Ok(root)
        } else {
            Err(sb.report(ondisk::Error::Corrupt("root inode is not a directory")))
        }
    }

    fn start(sb: &SuperBlock<Self>) -> Result {
        let data = sb.data();
        let volume = &data.volume;
        if mount::wants_check(volume).unwrap_or(true) {
            pr_warn!(
                "{}: mounting a file system that was found damaged; run fsck.pinfs\n",
                sb.id()
            );
        }
        let mut writer = data.writer.lock();
        if !sb.is_read_only() {
            writer
                .activate(sb.id(), volume)
                .map_err(|err| refuse(sb.id(), err))?;
            data.start_writing();
            return Ok(());
        }
        if data.norecovery || volume.geometry().read_only || sb.is_write_protected() {
            return Ok(());
        }
        if let Err(err) = writer.recover_read_only(sb.id(), volume) {
            pr_err!(
                "{}: the work on the orphan list failed: {}\n",
                sb.id(),
                err.message()
            );
        }
        Ok(())
    }

    fn may_mount(sb: &SuperBlock<Self>) -> Result {
        sb.check_readable().map_err(|_| {
            pr_err!(
                "{}: shut down and still in use; unmount it everywhere and let its pins end\n",
                sb.id()
            );
            EBUSY
        })
    }

    fn reconfigure(sb: &SuperBlock<Self>, options: &Options, read_only: bool) -> Result {
        let data = sb.data();
        if options.norecovery && !data.norecovery {
            pr_err!(
                "{}: norecovery is for a mount, not for a remount\n",
                sb.id()
            );
            return Err(EINVAL);
        }
        if read_only {
            if data.state.check_writable().is_err() {
                // It is idle already, or the device stays marked as in use.
                return Ok(());
            }
            return data.stop_writing().map_err(|err| sb.report(err));
        }
        if data.norecovery {
            pr_err!(
                "{}: mounted with norecovery, so the journal was not replayed; unmount it first\n",
                sb.id()
            );
            return Err(EINVAL);
        }
        if data.volume.geometry().read_only {
            pr_err!(
                "{}: unknown read-only compatible features forbid writing\n",
                sb.id()
            );
            return Err(EROFS);
        }
        data.state.check_sound()?;
        if data.state.is_idle() {
            recovery::start_writing(sb)?;
        }
        Ok(())
    }

    fn show_options(sb: &SuperBlock<Self>, seq: &SeqFile) {
        let data = sb.data();
        let norecovery = if data.norecovery { ",norecovery" } else { "" };
        seq_print!(seq, ",dax=always{norecovery}{}", data.state.option());
    }

    fn statistics(sb: &SuperBlock<Self>) -> Statistics {
        let volume = &sb.data().volume;
        let writer = sb.data().writer.lock();
        let counts = writer.space.counts();
        // Inodes are allocated from free blocks on demand.
        let used = mount::status(volume).map_or(0, |status| status.inodes());
        let free_inodes = counts
            .inode_blocks
            .saturating_add(counts.available)
            .saturating_mul(ondisk::INODE_SLOTS - 1)
            .saturating_sub(used);
        Statistics {
            magic: MAGIC,
            block_size: ondisk::BLOCK_SIZE as u32,
            blocks: counts.total,
            free_blocks: counts.free,
            available_blocks: counts.available,
            inodes: used.saturating_add(free_inodes),
            free_inodes,
            uuid: volume.geometry().uuid,
            name_max: ondisk::name::NAME_MAX as u32,
        }
    }

    fn sync(sb: &SuperBlock<Self>) -> Result {
        sb.flush()
    }

    fn device_is_gone(sb: &SuperBlock<Self>) {
        sb.shut_down("because the device is gone");
    }

    fn write_inode(inode: &FsInode<Self>) -> Result {
        inode::write(inode)
    }

    fn evict(inode: &FsInode<Self>) {
        inode::evict(inode);
    }

    fn put_super(sb: &SuperBlock<Self>) {
        let data = sb.data();
        if data.state.check_writable().is_err() {
            // It is idle, or no write is possible and the next mount finds it marked as in use.
            return;
        }
        if let Err(err) = data.stop_writing() {
            pr_err!("{}: not unmounted cleanly: {}\n", sb.id(), err.message());
        }
    }
}
