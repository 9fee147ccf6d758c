//! The arrays that there are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::array::Array;

static LIST: Mutex<Vec<Arc<Array>>> = Mutex::new(Vec::new());

/// Locked for single looks.
fn list() -> MutexGuard<'static, Vec<Arc<Array>>> {
    LIST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// False if there is one of that name.
pub(super) fn add(array: &Arc<Array>) -> bool {
    let mut list = list();
    let is_new = list.iter().all(|known| known.name != array.name);
    if is_new {
        list.push(Arc::clone(array));
    }
    is_new
}

pub(super) fn remove(array: &Arc<Array>) {
    let mut list = list();
    let at = list.iter().position(|known| Arc::ptr_eq(known, array));
    let removed = at.map(|at| list.remove(at));
    // Without the lock: it may be the last one.
    drop(list);
    drop(removed);
}

pub(super) fn find(name: &str) -> Option<Arc<Array>> {
    list().iter().find(|known| known.name == name).cloned()
}

/// The oldest first.
pub(super) fn all() -> Vec<Arc<Array>> {
    list().clone()
}
