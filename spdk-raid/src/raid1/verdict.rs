//! What the error of an I/O says about a leg, and what the errors of its legs make of a request. Pure decisions.
//!
//! | what the leg said | whose fault |
//! | --- | --- |
//! | failed, medium error, hardware error, data transfer error, path gone | the leg's |
//! | the bdev was removed; no such device | the leg's: it is gone |
//! | aborted, and a RESET of ours was under way | the request's |
//! | aborted otherwise: by the leg's own reset, or because it goes | the leg's |
//! | miscompare, unsupported, invalid field, reservation conflict | the request's |
//! | refused before it was started: range, alignment, length, wrong thread | the request's |
//! | no memory | nobody's: it waits below, and never gets here |

use spdk_safe::error::{IoCause, IoError, IoStatus};

use super::state::FaultReason;

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The leg's: it does not hold what it should.
    Leg(FaultReason),
    /// The request's: every leg would say so.
    Request,
}

/// Whose fault an error of a leg is. `was_reset`: a RESET of the array came while the request was under way.
#[must_use]
pub(super) fn of(error: &IoError, was_reset: bool) -> Verdict {
    let aborted = match was_reset {
        true => Verdict::Request,
        false => Verdict::Leg(FaultReason::Io),
    };
    match error {
        IoError::Removed { .. } => Verdict::Leg(FaultReason::Gone),
        IoError::Submit { errno, .. } => errno_of(errno.code()),
        IoError::Failed { status, .. } => of_status(status, aborted),
        IoError::Aborted { .. } => aborted,
        // Found before SPDK had it.
        _ => Verdict::Request,
    }
}

fn of_status(status: &IoStatus, aborted: Verdict) -> Verdict {
    const LEG: Verdict = Verdict::Leg(FaultReason::Io);
    match status.cause {
        IoCause::Aborted => aborted,
        IoCause::Miscompare | IoCause::FirstFusedFailed => Verdict::Request,
        IoCause::Aio => status.errno.map_or(LEG, |errno| errno_of(errno.code())),
        IoCause::Nvme => match (status.nvme.sct, status.nvme.sc) {
            // Aborted: asked for, its queue deleted, by the failure of a fused command, by a preemption.
            (0x0, 0x07..=0x0a) => aborted,
            // Invalid opcode, field, namespace or format; conflict of its identifier; reservation conflict.
            (0x0, 0x01 | 0x02 | 0x03 | 0x0b | 0x0c | 0x0d..=0x19 | 0x83) => Verdict::Request,
            // Of the command: conflicting attributes, invalid protection information, write to a read-only range.
            (0x1, _) => Verdict::Request,
            // Compare failure.
            (0x2, 0x85) => Verdict::Request,
            _ => LEG,
        },
        IoCause::Scsi => match (status.scsi.status, status.scsi.sense_key) {
            // Reservation conflict.
            (0x18, _) => Verdict::Request,
            // Task aborted.
            (0x40, _) => aborted,
            // Illegal request, unit attention, miscompare.
            (_, 0x5 | 0x6 | 0xe) => Verdict::Request,
            // Aborted command.
            (_, 0xb) => aborted,
            _ => LEG,
        },
        _ => LEG,
    }
}

/// An errno of SPDK's, or of Linux AIO's: positive or negative.
fn errno_of(code: i32) -> Verdict {
    const ENODEV: i32 = 19;
    const ENXIO: i32 = 6;
    const EINVAL: i32 = 22;
    const ENOTSUP: i32 = 95;
    const EBADF: i32 = 9;
    const EPERM: i32 = 1;
    match code.abs() {
        ENODEV | ENXIO => Verdict::Leg(FaultReason::Gone),
        EINVAL | ENOTSUP | EBADF | EPERM => Verdict::Request,
        _ => Verdict::Leg(FaultReason::Io),
    }
}

/// How the legs answered a request that changes data, or makes it durable. Each mask has a bit for each place in the list
/// of legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Answers {
    /// Legs that were asked and are in sync.
    pub(super) in_sync: u32,
    /// Legs that were asked, and are being filled.
    pub(super) filling: u32,
    /// Of both, those that failed by their own fault.
    pub(super) faults: u32,
    /// Of both, those that failed by the request's.
    pub(super) refusals: u32,
}

/// What is to be done about a request, now that all legs have answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is done everywhere.
    Done,
    /// It is done where data counts: fault these legs everywhere, then it succeeds.
    DoneWithout {
        /// The legs to be faulted.
        faults: u32,
    },
    /// It failed, and legs that stay may differ now: the range is dirty. Then it fails.
    Diverged {
        /// Legs to be faulted nevertheless.
        faults: u32,
    },
}

impl Answers {
    /// What is to be done.
    #[must_use]
    pub(super) fn outcome(self) -> Outcome {
        let failed = self.faults | self.refusals;
        if failed == 0 {
            return Outcome::Done;
        }
        let is_somewhere = self.in_sync & !failed != 0;
        // One that is being filled has no data that counts, and need not stay. The others stay if all of them failed.
        let faults = match is_somewhere {
            true => self.faults,
            false => self.faults & self.filling,
        };
        match is_somewhere && self.refusals == 0 {
            true => Outcome::DoneWithout { faults },
            false => Outcome::Diverged { faults },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(faults: u32, refusals: u32) -> Outcome {
        Answers {
            in_sync: 0b011,
            filling: 0b100,
            faults,
            refusals,
        }
        .outcome()
    }

    #[test]
    fn a_request_is_done_if_a_leg_in_sync_has_it_and_the_others_are_at_fault() {
        assert_eq!(answers(0, 0), Outcome::Done);
        assert_eq!(answers(0b001, 0), Outcome::DoneWithout { faults: 0b001 });
        assert_eq!(answers(0b110, 0), Outcome::DoneWithout { faults: 0b110 });
    }

    #[test]
    fn s5_a_request_that_no_leg_in_sync_has_fails_and_faults_none_of_them() {
        assert_eq!(answers(0b011, 0), Outcome::Diverged { faults: 0 });
        assert_eq!(answers(0b111, 0), Outcome::Diverged { faults: 0b100 });
        assert_eq!(answers(0b001, 0b010), Outcome::Diverged { faults: 0 });
    }

    #[test]
    fn s8_what_a_leg_refuses_fails_the_request_and_faults_nobody() {
        assert_eq!(answers(0, 0b001), Outcome::Diverged { faults: 0 });
        assert_eq!(answers(0, 0b111), Outcome::Diverged { faults: 0 });
        // The one that did fail is at fault beside one that has it.
        let mut three = Answers {
            in_sync: 0b111,
            filling: 0,
            faults: 0b001,
            refusals: 0b010,
        };
        assert_eq!(three.outcome(), Outcome::Diverged { faults: 0b001 });
        three.refusals = 0b110;
        assert_eq!(three.outcome(), Outcome::Diverged { faults: 0 });
    }
}
