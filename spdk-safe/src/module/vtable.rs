//! The C side of a block device: one trampoline for each function that SPDK calls.
//!
//! C type: `struct spdk_bdev_fn_table`, and the create and destroy callbacks of `spdk_io_device_register`.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::rc::Rc;

use super::BlockDevice;
use super::arrived::Arrived;
use super::context::Fresh;
use super::data::pieces;
use super::fan_out::{Known, NEVER};
use super::raw::{self, Plain, io_type, read, read_more};
use super::register::Node;
use super::request::{ReadRequest, Request, WriteRequest};
use super::status;
use crate::bdev::PlainKey;
use crate::error::IoType;
use crate::inside;
use crate::json::Object;
use crate::panic::contain;
use crate::thread::{Home, is_exiting, registry};
use crate::units::{Blocks, Bytes, Lba};

thread_local! {
    /// The bdevs whose devices are making their channel on this OS thread, outermost first.
    static CREATING: RefCell<Vec<*mut spdk_sys::spdk_bdev>> = const { RefCell::new(Vec::new()) };
}

/// Whether a device of ours is making its channel: the channels that it gets are for I/O below it.
pub(crate) fn in_create_channel() -> bool {
    CREATING.with_borrow(|creating| !creating.is_empty())
}

/// Whether the device of this very bdev is: SPDK would answer with the half-made channel (T-41).
pub(crate) fn is_creating_channel_of(bdev: *mut spdk_sys::spdk_bdev) -> bool {
    CREATING.with_borrow(|creating| creating.contains(&bdev))
}

/// Said when SPDK's scheduler has moved a thread on which our code runs (design rule 2).
const MOVED: &str =
    "an SPDK thread with a block device's channel was moved to another OS thread; its I/O fails";

thread_local! {
    /// How many channels of our devices each SPDK thread has.
    static CHANNELS: RefCell<Vec<(Home, usize)>> = const { RefCell::new(Vec::new()) };
}

fn enter_thread(home: Home) {
    CHANNELS.with_borrow_mut(
        |list| match list.iter_mut().find(|(have, _)| *have == home) {
            Some((_, count)) => *count += 1,
            None => list.push((home, 1)),
        },
    );
}

/// Whether that was the last channel of the thread.
fn leave_thread(home: Home) -> bool {
    CHANNELS.with_borrow_mut(|list| {
        let Some(at) = list.iter().position(|(have, _)| *have == home) else {
            return false;
        };
        list[at].1 -= 1;
        list[at].1 == 0 && {
            list.swap_remove(at);
            true
        }
    })
}

/// What SPDK keeps for us behind each channel.
pub(super) struct ChannelContext<D: BlockDevice> {
    node: *const Node<D>,
    /// From `Rc::into_raw`.
    channel: *const D::Channel,
    /// What requests of it have a pointer to.
    home: Home,
    /// Of the node, for each request.
    align_mask: usize,
    block_size: u32,
    metadata_size: u32,
    key: PlainKey,
    late: Cell<Late>,
    /// There is no metadata, and `late` is no: nothing of these is to be looked at.
    is_plain: Cell<bool>,
}

/// Whether a channel was made while a range was quiesced: SPDK does not hold back its reads then (M-43).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Late {
    /// Its first I/O will tell: the channel is whole by then.
    Unknown,
    No,
    Yes,
}

/// The function table of devices of type `D`.
pub(super) struct Vtable<D>(std::marker::PhantomData<D>);

impl<D: BlockDevice> Vtable<D> {
    /// SPDK keeps a pointer to it for as long as the bdev lives.
    pub(super) const TABLE: &'static spdk_sys::spdk_bdev_fn_table = &{
        // SAFETY: the struct has only nullable function pointers, for which zeroes are valid.
        let mut table: spdk_sys::spdk_bdev_fn_table = unsafe { std::mem::zeroed() };
        table.destruct = Some(destruct_callback::<D>);
        table.submit_request = Some(submit_request_callback::<D>);
        table.io_type_supported = Some(io_type_supported_callback::<D>);
        table.get_io_channel = Some(get_io_channel_callback);
        table.dump_info_json = Some(dump_info_json_callback::<D>);
        table.write_config_json = Some(write_config_json_callback::<D>);
        table
    };
}

/// # Safety
///
/// SPDK calls this when the bdev is unregistered, no descriptor of it is open and no channel is left; `ctxt` is the
/// bdev's [`Node`]. A positive answer: `spdk_bdev_destruct_done` will follow (M-25).
unsafe extern "C" fn destruct_callback<D: BlockDevice>(ctxt: *mut c_void) -> c_int {
    // SAFETY: the node's address is the key that the io_device was registered with. Its callback comes on this
    // thread, after the last channel on any thread is gone (T-43).
    unsafe { spdk_sys::spdk_io_device_unregister(ctxt, Some(device_gone_callback::<D>)) };
    1
}

/// # Safety
///
/// SPDK calls this once, after `destruct_callback` unregistered the io_device whose key is the bdev's [`Node`].
pub(super) unsafe extern "C" fn device_gone_callback<D: BlockDevice>(key: *mut c_void) {
    let _inside = inside::enter();
    contain("the destructor of a block device", || {
        // SAFETY: by this function's contract nobody uses the node any more; it came from `Box::into_raw`.
        let node = unsafe { Box::from_raw(key.cast::<Node<D>>()) };
        Node::end(node);
    });
}

/// # Safety
///
/// SPDK calls this while the bdev is being registered; `ctxt` is the bdev's [`Node`].
unsafe extern "C" fn io_type_supported_callback<D: BlockDevice>(
    ctxt: *mut c_void,
    raw: spdk_sys::spdk_bdev_io_type,
) -> bool {
    // SAFETY: by this function's contract.
    let node = unsafe { &*ctxt.cast::<Node<D>>() };
    let _inside = inside::enter();
    io_type(raw.0 as i32).is_some_and(|io| {
        contain("BlockDevice::supports", || node.device().supports(io)).unwrap_or(false)
    })
}

/// # Safety
///
/// SPDK calls this on the app thread, inside of an object of `w`; `ctxt` is the bdev's [`Node`].
unsafe extern "C" fn dump_info_json_callback<D: BlockDevice>(
    ctxt: *mut c_void,
    w: *mut spdk_sys::spdk_json_write_ctx,
) -> c_int {
    // SAFETY: by this function's contract.
    let node = unsafe { &*ctxt.cast::<Node<D>>() };
    let Some(writer) = NonNull::new(w) else {
        return -libc::EINVAL;
    };
    let _inside = inside::enter();
    // SAFETY: by this function's contract, for the length of this call.
    let mut info = unsafe { Object::from_raw(writer) };
    match contain("BlockDevice::dump_info", || {
        node.device().dump_info(&mut info)
    }) {
        Some(Ok(())) => 0,
        Some(Err(error)) => {
            crate::log::error(&format!("the JSON of bdev {:?}: {error}", node.name()));
            -libc::EIO
        }
        None => -libc::EIO,
    }
}

/// # Safety
///
/// SPDK calls this inside of an array of `w`, and holds a lock that opening a bdev takes, too (M-06): nobody's code runs
/// here. `ctxt` is the bdev's [`Node`].
unsafe extern "C" fn write_config_json_callback<D: BlockDevice>(
    bdev: *mut spdk_sys::spdk_bdev,
    w: *mut spdk_sys::spdk_json_write_ctx,
) {
    let _inside = inside::enter();
    contain("the configuration of a block device", || {
        // SAFETY: by this function's contract.
        let ctxt = unsafe { spdk_sys::spdk_shim_bdev_ctxt(bdev) };
        // SAFETY: as above.
        let node = unsafe { &*ctxt.cast::<Node<D>>() };
        // SAFETY: as above.
        unsafe { super::bdev_module::write_entries(&node.config(), w, &node.name()) };
    });
}

/// # Safety
///
/// SPDK calls this on the thread that wants a channel, while a descriptor is open; `ctxt` is the bdev's [`Node`].
unsafe extern "C" fn get_io_channel_callback(ctxt: *mut c_void) -> *mut spdk_sys::spdk_io_channel {
    // SAFETY: the node's address is the key of the io_device.
    unsafe { spdk_sys::spdk_get_io_channel(ctxt) }
}

/// # Safety
///
/// SPDK calls this on the thread of the new channel; `key` is the bdev's [`Node`], and `ctx` has room for a
/// [`ChannelContext`].
pub(super) unsafe extern "C" fn create_channel_callback<D: BlockDevice>(
    key: *mut c_void,
    ctx: *mut c_void,
) -> c_int {
    // SAFETY: by this function's contract; the node outlives its io_device.
    let node = unsafe { &*key.cast::<Node<D>>() };
    let Ok(home) = Home::current() else {
        return -libc::EINVAL;
    };
    let _inside = inside::enter();
    CREATING.with_borrow_mut(|creating| creating.push(node.bdev()));
    let created = contain("BlockDevice::create_channel", || {
        node.device().create_channel()
    });
    CREATING.with_borrow_mut(Vec::pop);
    match created {
        Some(Ok(channel)) => {
            let (block_size, metadata_size) = node.block_sizes();
            let context = ChannelContext::<D> {
                node,
                channel: Rc::into_raw(Rc::new(channel)),
                home,
                align_mask: node.align() - 1,
                block_size,
                metadata_size,
                key: PlainKey::of(home, block_size),
                late: Cell::new(Late::Unknown),
                is_plain: Cell::new(false),
            };
            enter_thread(home);
            // SAFETY: SPDK allocated as many bytes as the io_device was registered with, aligned like malloc's.
            unsafe { ctx.cast::<ChannelContext<D>>().write(context) };
            0
        }
        Some(Err(error)) => {
            crate::log::error(&format!("no channel for bdev {:?}: {error}", node.name()));
            -libc::EIO
        }
        None => -libc::EIO,
    }
}

/// # Safety
///
/// SPDK calls this once for each channel that was created, on its thread; `ctx` is its [`ChannelContext`].
pub(super) unsafe extern "C" fn destroy_channel_callback<D: BlockDevice>(
    _key: *mut c_void,
    ctx: *mut c_void,
) {
    let _inside = inside::enter();
    contain("the destructor of a block device's channel", || {
        // SAFETY: `create_channel_callback` wrote it, and nobody will use it again.
        let context = unsafe { ctx.cast::<ChannelContext<D>>().read() };
        let is_last = leave_thread(context.home);
        if context.home.check().is_err() {
            // Its state belongs to another OS thread: better leaked than touched here.
            return crate::log::error(MOVED);
        }
        contain("the destructor of a block device's channel", || {
            // SAFETY: the pointer is from `Rc::into_raw`, and this is its thread.
            drop(unsafe { Rc::from_raw(context.channel) });
        });
        if is_last && is_exiting() {
            // Nothing else says when this thread ends; what our code left on it would be leaked by force (T-10).
            registry::drain(context.home);
        }
    });
}

/// # Safety
///
/// SPDK calls this on the channel's thread with a request that it has not given us before, or that we completed with
/// NOMEM (M-30 to M-32).
unsafe extern "C" fn submit_request_callback<D: BlockDevice>(
    ch: *mut spdk_sys::spdk_io_channel,
    bdev_io: *mut spdk_sys::spdk_bdev_io,
) {
    // SAFETY: by this function's contract.
    let io = unsafe { NonNull::new_unchecked(bdev_io) };
    // SAFETY: by this function's contract.
    match unsafe { raw::type_of(io) } {
        // SAFETY: by this function's contract.
        raw::READ => unsafe { dispatch_plain::<D, true>(ch, io) },
        // SAFETY: by this function's contract.
        raw::WRITE => unsafe { dispatch_plain::<D, false>(ch, io) },
        // SAFETY: by this function's contract.
        _ => unsafe { dispatch_other::<D>(ch, bdev_io) },
    }
}

/// Hands a READ or WRITE to the device, or has SPDK bring memory for it.
///
/// A "C" function, as its caller is, so that SPDK's callback jumps here, and saves no registers: a read is 5 instructions
/// less, a write 1 more.
///
/// # Safety
///
/// As [`submit_request_callback`]; it is one.
#[inline(never)]
unsafe extern "C" fn dispatch_plain<D: BlockDevice, const IS_READ: bool>(
    ch: *mut spdk_sys::spdk_io_channel,
    io: NonNull<spdk_sys::spdk_bdev_io>,
) {
    // SAFETY: by this function's contract.
    let raw = unsafe { raw::read_plain(io) };
    // SAFETY: by this function's contract.
    let context = unsafe { context::<D>(ch) };
    if raw.iovcnt != 1 || raw.iovs.is_null() || !context.is_plain.get() {
        // SAFETY: by this function's contract.
        return unsafe { dispatch_any::<D, IS_READ>(ch, io) };
    }
    let raw = Plain { iovcnt: 1, ..raw };
    // SAFETY: what was submitted and not completed has `iovcnt` entries.
    let memory = Survey::one(unsafe { &*raw.iovs });
    if memory.len == 0 {
        // SAFETY: by this function's contract.
        return unsafe { dispatch_any::<D, IS_READ>(ch, io) };
    }
    // SAFETY: by this function's contract.
    unsafe { dispatch_memory::<D, IS_READ, true>(ch, io, &raw, &memory) };
}

/// The same, of memory in several pieces, or none, or with metadata.
///
/// # Safety
///
/// As [`dispatch_plain`].
#[inline(never)] // so that nothing of it is in the way of one piece
unsafe fn dispatch_any<D: BlockDevice, const IS_READ: bool>(
    ch: *mut spdk_sys::spdk_io_channel,
    io: NonNull<spdk_sys::spdk_bdev_io>,
) {
    // SAFETY: by this function's contract.
    let raw = unsafe { raw::read_plain(io) };
    // SAFETY: what was submitted and not completed has `iovcnt` entries, or none.
    let memory = unsafe { Survey::of(raw.iovs, raw.iovcnt) };
    // SAFETY: by this function's contract.
    unsafe { dispatch_memory::<D, IS_READ, false>(ch, io, &raw, &memory) };
}

/// The same; `raw` and `memory` are known. `IS_PLAIN`, that it is one piece, not empty, and that the channel is plain, makes
/// it a function of its own, which the compiler puts into its only caller: 40 instructions less.
///
/// # Safety
///
/// As [`dispatch_plain`].
#[inline(always)]
unsafe fn dispatch_memory<D: BlockDevice, const IS_READ: bool, const IS_PLAIN: bool>(
    ch: *mut spdk_sys::spdk_io_channel,
    io: NonNull<spdk_sys::spdk_bdev_io>,
    raw: &Plain,
    memory: &Survey,
) {
    // SAFETY: by this function's contract.
    let context = unsafe { context::<D>(ch) };
    if IS_READ && !memory.is_there(context.align_mask) {
        // SAFETY: by this function's contract.
        return unsafe { get_memory::<D>(context.node(), io.as_ptr(), raw.blocks) };
    }
    // The bdev layer does not check it (B-41).
    if raw.blocks.bytes(context.block_size) != Some(Bytes(memory.len)) {
        // SAFETY: the request is ours and nobody else has it.
        return unsafe { fail(io.as_ptr()) };
    }
    if !IS_READ && memory.ored & context.align_mask != 0 {
        // As it brings it for a READ, with a copy of the data in it.
        // SAFETY: by this function's contract.
        return unsafe { get_memory::<D>(context.node(), io.as_ptr(), raw.blocks) };
    }
    let fresh = Fresh {
        home: NonNull::from(&context.home),
        iovs: raw.iovs,
        len: memory.len,
        iovcnt: raw.iovcnt,
        block_size: context.block_size,
        fills: IS_READ,
    };
    let (lba, blocks) = (raw.lba, raw.blocks);
    let metadata_size = if IS_PLAIN { 0 } else { context.metadata_size };
    let give = |device: &D, channel: &Rc<D::Channel>, depth: u32| {
        // SAFETY: by this function's contract nobody else has taken the request over; it has its memory.
        let handle = unsafe { Request::take_plain(io, raw, fresh, metadata_size) };
        let known = Known {
            base: memory.base,
            key: context.key,
            depth: if IS_PLAIN { depth } else { NEVER },
        };
        match IS_READ {
            true => {
                let read = ReadRequest {
                    handle,
                    lba,
                    blocks,
                };
                // SAFETY: SPDK has called us for it, on its thread, and the device is called from here.
                device.read(channel, unsafe { Arrived::new(read, known) });
            }
            false => {
                let write = WriteRequest {
                    handle,
                    lba,
                    blocks,
                };
                // SAFETY: as for a read.
                device.write(channel, unsafe { Arrived::new(write, known) });
            }
        }
    };
    // SAFETY: by this function's contract, and `give` takes it over.
    unsafe { submit::<D, IS_PLAIN>(context, io, (lba, blocks, IS_READ), give) };
}

/// As [`dispatch_plain`], for all other types.
///
/// # Safety
///
/// As [`submit_request_callback`].
#[inline(never)]
unsafe extern "C" fn dispatch_other<D: BlockDevice>(
    ch: *mut spdk_sys::spdk_io_channel,
    bdev_io: *mut spdk_sys::spdk_bdev_io,
) {
    // SAFETY: by this function's contract.
    let raw = unsafe { read(bdev_io) };
    // The start of a ZCOPY is like a READ.
    let wants_memory = io_type(raw.type_) == Some(IoType::ZeroCopy)
        // SAFETY: by this function's contract.
        && unsafe { read_more(bdev_io) }.start;
    if wants_memory {
        // SAFETY: by this function's contract.
        let context = unsafe { context::<D>(ch) };
        // SAFETY: what was submitted and not completed has `iovcnt` entries, or none.
        let memory = unsafe { Survey::of(raw.iovs, u32::try_from(raw.iovcnt).unwrap_or(0)) };
        if !memory.is_there(context.align_mask) {
            // SAFETY: by this function's contract.
            return unsafe { get_memory::<D>(context.node(), bdev_io, Blocks(raw.num_blocks)) };
        }
    }
    // SAFETY: by this function's contract.
    unsafe { dispatch::<D>(ch, bdev_io, &raw) };
}

/// What is to be known of a request's memory.
struct Survey {
    /// All addresses together, for a look at their alignment; 0 if the first is null.
    ored: usize,
    /// The length of all.
    len: u64,
    /// Of one piece: where it is.
    base: *mut u8,
}

impl Survey {
    #[inline(always)]
    fn one(iov: &libc::iovec) -> Self {
        Self {
            ored: iov.iov_base.addr(),
            len: iov.iov_len as u64,
            base: iov.iov_base.cast(),
        }
    }

    /// # Safety
    ///
    /// `iovs` is null or has `count` entries, which nobody changes meanwhile.
    #[inline(never)]
    unsafe fn of(iovs: *const libc::iovec, count: u32) -> Self {
        // SAFETY: by this function's contract.
        let iovs = unsafe { pieces(iovs, count as usize) };
        let add = |sum: Self, iov: &libc::iovec| Self {
            ored: sum.ored | iov.iov_base.addr(),
            len: sum.len.saturating_add(iov.iov_len as u64),
            ..sum
        };
        let none = Self {
            ored: 0,
            len: 0,
            base: ptr::null_mut(),
        };
        let all = iovs.iter().fold(none, add);
        let has_first = iovs.first().is_some_and(|iov| !iov.iov_base.is_null());
        Self {
            ored: if has_first { all.ored } else { 0 },
            ..all
        }
    }

    /// Whether the caller of a READ brought it, aligned (M-33).
    #[inline(always)]
    fn is_there(&self, align_mask: usize) -> bool {
        self.ored != 0 && self.ored & align_mask == 0
    }
}

/// Has SPDK bring memory for a READ, or a WRITE whose own is not aligned.
///
/// # Safety
///
/// As [`submit_request_callback`].
#[cold]
unsafe fn get_memory<D: BlockDevice>(
    node: &Node<D>,
    bdev_io: *mut spdk_sys::spdk_bdev_io,
    blocks: Blocks,
) {
    let Some(bytes) = blocks.bytes(node.block_size()) else {
        // SAFETY: the request is ours and nobody else has it.
        return unsafe { fail(bdev_io) };
    };
    // SAFETY: on the channel's thread.
    unsafe { spdk_sys::spdk_bdev_io_get_buf(bdev_io, Some(get_buf_callback::<D>), bytes.0) };
}

/// # Safety
///
/// SPDK calls this once, on the channel's thread, after `spdk_bdev_io_get_buf`.
unsafe extern "C" fn get_buf_callback<D: BlockDevice>(
    ch: *mut spdk_sys::spdk_io_channel,
    bdev_io: *mut spdk_sys::spdk_bdev_io,
    success: bool,
) {
    if success {
        // SAFETY: the request is still ours, and its memory is there.
        let raw = unsafe { read(bdev_io) };
        // SAFETY: as above.
        unsafe { dispatch::<D>(ch, bdev_io, &raw) };
    } else {
        // SAFETY: the request is still ours, and nobody else has it.
        unsafe { fail(bdev_io) };
    }
}

/// Hands a request of any type to the device.
///
/// # Safety
///
/// As [`submit_request_callback`]; a READ has its memory. `raw` is what the request says of itself.
unsafe fn dispatch<D: BlockDevice>(
    ch: *mut spdk_sys::spdk_io_channel,
    bdev_io: *mut spdk_sys::spdk_bdev_io,
    raw: &spdk_sys::spdk_shim_request,
) {
    // SAFETY: by this function's contract.
    let context = unsafe { context::<D>(ch) };
    let sizes = (context.block_size, context.metadata_size);
    // SAFETY: by this function's contract.
    let fits = unsafe { fits(bdev_io, raw, context.block_size) };
    let (Some(io), Some(driver_ctx), true) = (
        NonNull::new(bdev_io),
        NonNull::new(raw.driver_ctx.cast::<u8>()),
        fits,
    ) else {
        // SAFETY: the request is ours and nobody else has it.
        return unsafe { fail(bdev_io) };
    };
    let home = NonNull::from(&context.home);
    let give = |device: &D, channel: &Rc<D::Channel>, _| {
        // SAFETY: by this function's contract nobody else has taken the request over.
        let request = unsafe { Request::take(io, driver_ctx, raw, home, sizes) };
        device.submit(channel, request);
    };
    let (lba, blocks) = (Lba(raw.offset_blocks), Blocks(raw.num_blocks));
    let is_read = io_type(raw.type_) == Some(IoType::Read);
    // SAFETY: by this function's contract, and `give` takes it over.
    unsafe { submit::<D, false>(context, io, (lba, blocks, is_read), give) };
}

/// Calls the device, unless the request may not go on now.
///
/// # Safety
///
/// As [`dispatch`]; `give` takes `io` over, and is told the `inside` depth. `IS_PLAIN`: so is the channel.
#[inline(always)]
unsafe fn submit<D: BlockDevice, const IS_PLAIN: bool>(
    context: &ChannelContext<D>,
    io: NonNull<spdk_sys::spdk_bdev_io>,
    (lba, blocks, is_read): (Lba, Blocks, bool),
    give: impl FnOnce(&D, &Rc<D::Channel>, u32),
) {
    let inside = inside::enter();
    // SPDK says that the channel's thread is current.
    if !context.home.is_os_thread(inside.os_thread()) {
        // SAFETY: the request is ours and nobody else has it.
        return unsafe { moved(io) };
    }
    if inside.is_deep() {
        // What waited for memory goes on below the end of what had it, in SPDK of all versions (M-32, M-33).
        // SAFETY: the request is ours and nobody else has it; it comes again as it is.
        return unsafe { status::again(io, context.home) };
    }
    let holds = !IS_PLAIN && context.late.get() != Late::No;
    // SAFETY: by this function's contract.
    if holds && unsafe { hold_back(context, io, lba, blocks, is_read) } {
        return;
    }
    // Not counted: SPDK destroys its channel by message, so not before we have returned. What the device keeps, it
    // clones.
    // SAFETY: the pointer is from `Rc::into_raw`, and the channel has not been destroyed.
    let channel = ManuallyDrop::new(unsafe { Rc::from_raw(context.channel) });
    // A panic drops the request, which fails it.
    contain("BlockDevice::submit", || {
        give(context.node().device(), &channel, inside.depth());
    });
}

/// # Safety
///
/// As [`fail`].
#[cold]
unsafe fn moved(io: NonNull<spdk_sys::spdk_bdev_io>) {
    crate::log::error(MOVED);
    // SAFETY: by this function's contract.
    unsafe { fail(io.as_ptr()) };
}

/// Has a READ of what is quiesced come again, if SPDK did not hold it back.
///
/// # Safety
///
/// As [`dispatch`]; if the answer is true, the request is nobody's until it comes again.
#[cold]
unsafe fn hold_back<D: BlockDevice>(
    context: &ChannelContext<D>,
    io: NonNull<spdk_sys::spdk_bdev_io>,
    lba: Lba,
    blocks: Blocks,
    is_read: bool,
) -> bool {
    let quiesced = context.node().registration().is_quiesced(lba, blocks);
    // With none left, SPDK tells this channel, too, of those that come.
    context.late.set(match quiesced {
        None => Late::No,
        Some(_) => Late::Yes,
    });
    let is_plain = quiesced.is_none() && context.metadata_size == 0;
    context.is_plain.set(is_plain);
    let hold = quiesced == Some(true) && is_read;
    if hold {
        // SAFETY: by this function's contract.
        unsafe { status::again(io, context.home) };
    }
    hold
}

/// Whether the memory of a request is as long as its range: the bdev layer does not check it (B-41).
///
/// # Safety
///
/// As [`submit_request_callback`]; `raw` is what the request says of itself.
#[inline]
unsafe fn fits(
    bdev_io: *mut spdk_sys::spdk_bdev_io,
    raw: &spdk_sys::spdk_shim_request,
    block_size: u32,
) -> bool {
    use IoType::{Compare, CompareAndWrite, Read, Write, ZeroCopy};
    let ty = io_type(raw.type_);
    if !matches!(
        ty,
        Some(Read | Write | Compare | CompareAndWrite | ZeroCopy)
    ) {
        return true;
    }
    let want = Blocks(raw.num_blocks).bytes(block_size);
    // SAFETY: what was submitted and not completed has `iovcnt` entries.
    let len = unsafe { sum(raw.iovs, raw.iovcnt) };
    if ty != Some(CompareAndWrite) {
        return want == Some(len);
    }
    // SAFETY: by this function's contract.
    let more = unsafe { read_more(bdev_io) };
    // SAFETY: as above.
    let fused = unsafe { sum(more.fused_iovs, more.fused_iovcnt) };
    want == Some(len) && want == Some(fused)
}

/// How many bytes there are.
///
/// # Safety
///
/// `iovs` is null or has `count` entries, which nobody changes meanwhile.
#[inline]
unsafe fn sum(iovs: *const libc::iovec, count: c_int) -> Bytes {
    // SAFETY: by this function's contract.
    Bytes(unsafe { Survey::of(iovs, u32::try_from(count).unwrap_or(0)) }.len)
}

/// # Safety
///
/// `bdev_io` is a request that is not completed, and nobody else will complete it.
#[cold]
unsafe fn fail(bdev_io: *mut spdk_sys::spdk_bdev_io) {
    // SAFETY: by this function's contract.
    unsafe {
        spdk_sys::spdk_bdev_io_complete(
            bdev_io,
            spdk_sys::spdk_bdev_io_status::SPDK_BDEV_IO_STATUS_FAILED,
        );
    }
}

/// # Safety
///
/// `ch` is a channel of an io_device of ours for `D`, and is not destroyed while the result is used.
#[inline(always)]
unsafe fn context<'a, D: BlockDevice>(ch: *mut spdk_sys::spdk_io_channel) -> &'a ChannelContext<D> {
    // SAFETY: by this function's contract.
    let raw = unsafe { raw::channel_context(ch) };
    // SAFETY: `create_channel_callback` wrote it, and nobody changes it before the channel is destroyed.
    unsafe { &*raw.cast() }
}

impl<D: BlockDevice> ChannelContext<D> {
    fn node(&self) -> &Node<D> {
        // SAFETY: the node is destroyed only after the last channel (`device_gone_callback`).
        unsafe { &*self.node }
    }
}
