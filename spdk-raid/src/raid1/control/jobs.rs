//! What an array does by itself is begun and ended here. It runs on an SPDK thread of the array's own, which is there as
//! long as there is something to do.

use std::future::Future;
use std::sync::Arc;

use futures_channel::oneshot;
use spdk_safe::thread::Thread;

use super::super::array::Array;
use super::super::error::ChangeError;
use super::super::info::Process;
use super::super::jobs::{self, Job, JobKind};
use super::super::settle::later;
use super::super::state::{FaultReason, LegId};
use super::{Command, Control, answer};
use crate::split::Extent;

impl Control {
    pub(super) async fn repair(&mut self, leg: LegId, extent: Extent) {
        let array = Arc::clone(&self.array);
        let repair = move || jobs::repair(array, leg, extent);
        if !self.spawn(None, repair).await {
            self.array.was_repaired(leg, extent);
        }
    }

    /// A resync that people see.
    pub(super) async fn resync(&mut self, id: u64) {
        let job = Job::new(JobKind::Resync, None);
        self.array.status().jobs.push(Arc::clone(&job));
        let (array, task) = (Arc::clone(&self.array), Arc::clone(&job));
        let resync = move || jobs::resync(array, id, Some(task));
        self.spawn(Some(job), resync).await;
    }

    pub(super) async fn scrub(&mut self, repair: bool) -> Result<(), ChangeError> {
        let is_busy = {
            let status = self.array.status();
            status.jobs.iter().any(|job| job.kind == JobKind::Scrub)
        };
        if is_busy {
            return Err(ChangeError::Scrubbing);
        }
        let job = Job::new(JobKind::Scrub, None);
        self.array.status().jobs.push(Arc::clone(&job));
        let (array, task) = (Arc::clone(&self.array), Arc::clone(&job));
        match self
            .spawn(Some(job), move || jobs::scrub(array, task, repair))
            .await
        {
            true => Ok(()),
            false => Err(ChangeError::NoThread {
                name: self.array.name.clone(),
            }),
        }
    }

    pub(super) async fn abort(
        &mut self,
        process: &Process,
        done: oneshot::Sender<Result<(), ChangeError>>,
    ) {
        let job = self.array.status().job(process);
        let Some(job) = job else {
            return answer(Some(done), Err(ChangeError::NoJob));
        };
        let mut held = None;
        if let Some(leg) = job.leg {
            // Closed below.
            held = self.descs.remove(&leg);
            self.fault(&[leg], FaultReason::Asked).await;
        }
        job.abort();
        let ended = job.ended();
        later(async move {
            if let Some(held) = held {
                held.let_go().await;
            }
            // Nothing is ever sent.
            let _ = ended.await;
            answer(Some(done), Ok(()));
        });
    }

    /// Runs a job on the array's own thread. False if there is none to be had.
    pub(super) async fn spawn<F>(
        &mut self,
        job: Option<Arc<Job>>,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> bool
    where
        F: Future<Output = ()> + 'static,
    {
        if self.worker.is_none() {
            let made = Thread::builder(format!("{}_worker", self.array.name))
                .spawner(spdk_exec::spdk::attach)
                .create(&self.spdk)
                .await;
            match made {
                Ok(worker) => self.worker = Some(worker),
                Err(error) => log::error!(
                    "raid1 {:?} has no thread for jobs: {error}",
                    self.array.name
                ),
            }
        }
        let end = Ended {
            array: Arc::clone(&self.array),
            job: job.clone(),
        };
        self.jobs += 1;
        let spawned = match &self.worker {
            Some(worker) => worker
                .handle()
                .try_spawn(move || async move {
                    let _end = end;
                    make().await;
                })
                .is_ok(),
            None => false,
        };
        // If it was not, its end is told all the same.
        spawned
    }

    pub(super) fn ended(&mut self, job: Option<Arc<Job>>) {
        if let Some(job) = job {
            let mut status = self.array.status();
            status.jobs.retain(|known| !Arc::ptr_eq(known, &job));
        }
        self.jobs -= 1;
        if self.jobs == 0 {
            self.worker = None;
        }
    }
}

/// Tells control of the end of a job, however that comes.
struct Ended {
    array: Arc<Array>,
    job: Option<Arc<Job>>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.array.tell(Command::Ended(self.job.take()));
    }
}
