//! Sets of cores.

use crate::app::Spdk;
use crate::error::{AppError, CoreList, CoresError, ThreadError};

/// A set of cores, as a list of core numbers: those that an app has reactors on, or that a thread may run on. For an
/// app the default is one: the first that the process may run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cores(Vec<u32>);

impl Cores {
    /// These cores; the lowest one of an app's runs the app thread.
    pub fn of(cores: impl IntoIterator<Item = u32>) -> Self {
        Self(cores.into_iter().collect())
    }

    /// The cores that the app has reactors on, ascending.
    ///
    /// # Errors
    ///
    /// [`ThreadError`] elsewhere than on the app thread.
    pub fn of_reactors(spdk: &Spdk) -> Result<Self, ThreadError> {
        spdk.check()?;
        Ok(Self(reactors()))
    }

    /// Their numbers, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    /// How many numbers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// SPDK's mask: `0x5` is cores 0 and 2. Also checks that each core is one of this machine (MISUSE T15).
    pub(crate) fn mask(&self) -> Result<String, AppError> {
        // SAFETY: sysconf() only reads.
        let machine =
            usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) }).unwrap_or(1);
        let range = |got: String| AppError::OutOfRange {
            what: "cores",
            got,
            allowed: "one or more of this machine's cores",
        };
        if self.0.is_empty() {
            return Err(range("none".into()));
        }
        let mut digits = vec![0_u8; machine.div_ceil(4)];
        for &core in &self.0 {
            let at = core as usize;
            if at >= machine {
                return Err(range(format!("core {core} of {machine}")));
            }
            digits[at / 4] |= 1 << (at % 4);
        }
        let hex: String = digits
            .iter()
            .rev()
            .map(|digit| format!("{digit:x}"))
            .collect();
        Ok(format!("0x{hex}"))
    }

    /// Checks that each core has a reactor: where one has none, some versions of SPDK take another core, and others lose
    /// the thread. While an app runs.
    pub(super) fn check_reactors(&self) -> Result<(), CoresError> {
        if self.0.is_empty() {
            return Err(CoresError::Empty);
        }
        let reactors = reactors();
        match self.0.iter().find(|core| !reactors.contains(core)) {
            None => Ok(()),
            Some(&core) => Err(CoresError::NoReactor {
                core,
                reactors: CoreList(reactors),
            }),
        }
    }

    pub(super) fn numbers(&self) -> &[u32] {
        &self.0
    }

    /// The first core that this process may run on: not core 0 in every container.
    fn first_allowed() -> u32 {
        // SAFETY: a cpu_set_t is a bit array, for which zeroes are valid.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: `set` has the size that is said.
        let rc = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
        let allowed = |core: &u32| {
            // SAFETY: the range below ends at the size of the set.
            unsafe { libc::CPU_ISSET(*core as usize, &set) }
        };
        (0..libc::CPU_SETSIZE as u32)
            .find(|core| rc == 0 && allowed(core))
            .unwrap_or(0)
    }
}

impl Default for Cores {
    fn default() -> Self {
        Self::of([Self::first_allowed()])
    }
}

/// The cores with a reactor. While an app runs.
fn reactors() -> Vec<u32> {
    // SAFETY: reads DPDK's list of cores, which does not change once it is up.
    let first = unsafe { spdk_sys::spdk_env_get_first_core() };
    let next = |core: &u32| {
        // SAFETY: as above.
        Some(unsafe { spdk_sys::spdk_env_get_next_core(*core) })
    };
    std::iter::successors(Some(first), next)
        .take_while(|core| *core != u32::MAX)
        .collect()
}

/// The core that this OS thread runs a reactor on. On a reactor.
pub(super) fn current() -> u32 {
    // SAFETY: reads DPDK's thread-local number of the core.
    unsafe { spdk_sys::spdk_env_get_current_core() }
}
