//! How a request ended, as SPDK is told.

use std::ptr::NonNull;

use crate::error::{Errno, IoCause, IoError, IoStatus, NvmeStatus, ScsiStatus};
use crate::thread::Home;

/// How a request ended.
///
/// What an I/O below said becomes one, and nothing of it is lost: `request.complete(result)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestStatus {
    /// It is done.
    Success,
    /// It failed.
    Failed,
    /// It was aborted, by a reset for example.
    Aborted,
    /// A compare found something else.
    Miscompare,
    /// The first half of a fused command failed.
    FirstFusedFailed,
    /// There is no memory for it now: the same request comes again, soon. How soon is SPDK's affair, and before SPDK
    /// 24.01 this crate's, with the next turn of the thread (M-32).
    NoMemory,
    /// An NVMe status (`spdk_bdev_io_complete_nvme_status`).
    Nvme {
        /// Dword 0 of the completion.
        cdw0: u32,
        /// Status code type and status code.
        status: NvmeStatus,
    },
    /// A SCSI status (`spdk_bdev_io_complete_scsi_status`).
    Scsi(ScsiStatus),
    /// An errno, as Linux AIO has it (`spdk_bdev_io_complete_aio_status`). Before SPDK 21.01 it is a failure without a
    /// reason.
    Aio(Errno),
}

impl From<IoStatus> for RequestStatus {
    fn from(status: IoStatus) -> Self {
        match status.cause {
            IoCause::Aborted => Self::Aborted,
            IoCause::Miscompare => Self::Miscompare,
            IoCause::FirstFusedFailed => Self::FirstFusedFailed,
            IoCause::Nvme => Self::Nvme {
                cdw0: status.cdw0,
                status: status.nvme,
            },
            IoCause::Scsi => Self::Scsi(status.scsi),
            IoCause::Aio => status.errno.map_or(Self::Failed, Self::Aio),
            _ => Self::Failed,
        }
    }
}

impl From<IoError> for RequestStatus {
    #[cold]
    fn from(error: IoError) -> Self {
        match error.status() {
            Some(status) => status.into(),
            None if error.is_aborted() => Self::Aborted,
            None => Self::Failed,
        }
    }
}

impl From<Result<(), IoError>> for RequestStatus {
    #[inline]
    fn from(result: Result<(), IoError>) -> Self {
        match result {
            Ok(()) => Self::Success,
            Err(error) => error.into(),
        }
    }
}

impl RequestStatus {
    /// Tells SPDK of a success.
    ///
    /// # Safety
    ///
    /// As [`complete`](Self::complete).
    #[inline]
    pub(super) unsafe fn succeed(io: NonNull<spdk_sys::spdk_bdev_io>) {
        let success = spdk_sys::spdk_bdev_io_status::SPDK_BDEV_IO_STATUS_SUCCESS;
        // SAFETY: by this function's contract.
        unsafe { spdk_sys::spdk_bdev_io_complete(io.as_ptr(), success) };
    }

    /// Tells SPDK.
    ///
    /// # Safety
    ///
    /// `io` is a request of ours, on its thread, which nobody else completes and nobody touches any more.
    #[cold]
    pub(super) unsafe fn complete(self, io: NonNull<spdk_sys::spdk_bdev_io>, home: Home) {
        use spdk_sys::spdk_bdev_io_status as raw;
        let (request, io) = (io, io.as_ptr());
        let plain = match self {
            Self::Success => raw::SPDK_BDEV_IO_STATUS_SUCCESS,
            Self::Aborted => raw::SPDK_BDEV_IO_STATUS_ABORTED,
            Self::Miscompare => raw::SPDK_BDEV_IO_STATUS_MISCOMPARE,
            Self::FirstFusedFailed => raw::SPDK_BDEV_IO_STATUS_FIRST_FUSED_FAILED,
            Self::NoMemory => {
                // SAFETY: by this function's contract.
                if unsafe { spdk_sys::spdk_shim_request_nomem(io) } {
                    return;
                }
                // SAFETY: by this function's contract.
                return unsafe { again(request, home) };
            }
            Self::Nvme { cdw0, status } => {
                let (sct, sc) = (status.sct.into(), status.sc.into());
                // SAFETY: by this function's contract.
                return unsafe { spdk_sys::spdk_bdev_io_complete_nvme_status(io, cdw0, sct, sc) };
            }
            Self::Scsi(scsi) => {
                // SAFETY: by this function's contract. The shim has SPDK's enums for the bytes.
                return unsafe {
                    spdk_sys::spdk_shim_request_complete_scsi(
                        io,
                        scsi.status.into(),
                        scsi.sense_key.into(),
                        scsi.asc,
                        scsi.ascq,
                    )
                };
            }
            Self::Aio(errno) if errno.code() != 0 => {
                // SAFETY: by this function's contract.
                return unsafe { spdk_sys::spdk_shim_request_complete_aio(io, errno.code()) };
            }
            // An errno of 0 is none.
            Self::Failed | Self::Aio(_) => raw::SPDK_BDEV_IO_STATUS_FAILED,
        };
        // SAFETY: by this function's contract.
        unsafe { spdk_sys::spdk_bdev_io_complete(io, plain) };
    }
}

/// Has a request come again, with the next turn of its thread.
///
/// # Safety
///
/// `io` is a request of ours that is not completed, on its thread `home`, and nobody's until it comes.
pub(super) unsafe fn again(io: NonNull<spdk_sys::spdk_bdev_io>, home: Home) {
    // SAFETY: by this function's contract; the request's channel stays, and is of this thread.
    let again = move || unsafe { spdk_sys::spdk_shim_request_submit(io.as_ptr()) };
    // SAFETY: SPDK keeps a channel, and its thread with it, while a request of it is outstanding. The closure touches
    // the request alone, which belongs to the SPDK thread.
    unsafe { home.run_later(Box::new(again)) };
}
