//! One thread of ours, as it sees itself: what lives on its OS thread alone.

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

use super::shared::Shared;
use super::spawner::{LocalTask, Spawner};
use super::storage::Values;
use super::{Home, home, task};
use crate::error::ThreadError;
use crate::panic::contain;

thread_local! {
    /// Of the SPDK threads that this OS thread runs.
    static LOCALS: RefCell<Vec<Rc<Local>>> = const { RefCell::new(Vec::new()) };
}

/// Of a thread that stays on one OS thread: a pinned one, or the app thread.
pub(super) struct Local {
    shared: Arc<Shared>,
    home: Home,
    /// The one that the thread was given.
    spawner: RefCell<Option<Rc<dyn Spawner>>>,
    /// Run before the tasks are dropped.
    hooks: RefCell<Vec<Box<dyn FnOnce()>>>,
    hooks_taken: Cell<bool>,
    tasks_dropped: Cell<bool>,
    pub(super) values: Values,
}

/// Begins the local half of `shared`, whose thread `home` is current.
pub(super) fn begin(shared: &Arc<Shared>, home: Home) -> Rc<Local> {
    let local = Rc::new(Local {
        shared: Arc::clone(shared),
        home,
        spawner: RefCell::new(None),
        hooks: RefCell::default(),
        hooks_taken: Cell::new(false),
        tasks_dropped: Cell::new(false),
        values: Values::default(),
    });
    LOCALS.with_borrow_mut(|locals| locals.push(Rc::clone(&local)));
    local
}

/// That of the current thread, if it is one of ours that stays, and stayed.
pub(super) fn current() -> Option<Rc<Local>> {
    let raw = home::current_raw()?;
    // A thread that has exited took itself off the list, so its address is not found.
    LOCALS
        .try_with(|locals| {
            let locals = locals.borrow();
            locals
                .iter()
                .find(|local| local.home.raw() == raw)
                .map(Rc::clone)
        })
        .ok()
        .flatten()
}

/// That of the thread `id`, on whose OS thread this is.
pub(super) fn of_id(id: u64) -> Option<Rc<Local>> {
    let of_id = |local: &&Rc<Local>| local.home.id().get() == id;
    LOCALS.with_borrow(|locals| locals.iter().find(of_id).map(Rc::clone))
}

/// Ends that of `raw`, which exits.
pub(super) fn forget(raw: NonNull<spdk_sys::spdk_thread>) {
    let gone: Vec<_> = LOCALS.with_borrow_mut(|locals| {
        let (gone, left) = std::mem::take(locals)
            .into_iter()
            .partition(|local| local.home.raw() == raw);
        *locals = left;
        gone
    });
    drop(gone);
}

impl Local {
    pub(super) fn home(&self) -> Home {
        self.home
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Gives the thread its spawner.
    pub(super) fn set_spawner(&self, spawner: Rc<dyn Spawner>) {
        self.spawner.replace(Some(spawner));
    }

    /// Has `hook` run before the tasks are dropped.
    pub(super) fn at_exit(&self, hook: Box<dyn FnOnce()>) -> Result<(), ThreadError> {
        if self.hooks_taken.get() {
            return Err(ThreadError::Exiting);
        }
        self.hooks.borrow_mut().push(hook);
        Ok(())
    }

    /// Starts `task`; it is dropped if the thread takes none any more.
    pub(super) fn spawn(&self, task: LocalTask) {
        if self.tasks_dropped.get() {
            return drop(task);
        }
        // A statement of its own: nothing is borrowed in the spawner's code.
        let spawner = self.spawner.borrow().clone();
        match spawner {
            Some(spawner) => spawner.spawn(task),
            None => self.shared.start_local(self.home, task),
        }
    }

    pub(super) fn takes_tasks(&self) -> bool {
        !self.tasks_dropped.get()
    }

    /// Drops the tasks, and takes no others.
    pub(super) fn drop_tasks(&self) {
        // Those that a hook would add are refused: a hook that adds itself would have no end.
        self.hooks_taken.set(true);
        let hooks = self.hooks.take();
        for hook in hooks.into_iter().rev() {
            contain("an exit hook", hook);
        }
        self.tasks_dropped.set(true);
        let spawner = self.spawner.take();
        contain("the destructor of a spawner", || drop(spawner));
        task::drop_all(&self.shared);
    }

    /// Drops the values of per-thread storage.
    pub(super) fn drop_storage(&self) {
        self.values.drop_all();
    }
}
