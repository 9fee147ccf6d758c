//! The handles of a device: its owner, and the half that travels.

use std::ffi::CString;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::core::Core;
use super::{DeviceChannel, ForEachChannel, IoDevice};
use crate::app::Spdk;
use crate::error::{DeviceChannelError, IoDeviceError};
use crate::thread::Travels;

/// Registers `device` (`spdk_io_device_register`). The name is for SPDK's log, and need not be unique.
///
/// # Errors
///
/// [`IoDeviceError`]; the device is dropped then.
pub fn register<D: IoDevice>(
    spdk: &Spdk,
    name: &str,
    device: D,
) -> Result<RegisteredIoDevice<D>, IoDeviceError> {
    spdk.check()?;
    let c_name = CString::new(name).map_err(|_| IoDeviceError::Name { name: name.into() })?;
    match Core::register(name, &c_name, device) {
        Some(core) => Ok(RegisteredIoDevice(SharedIoDevice { core })),
        None => Err(IoDeviceError::NoMemory { name: name.into() }),
    }
}

/// The owner of a registered device. Dropping it unregisters the device, without waiting.
#[must_use = "dropping it unregisters the device"]
pub struct RegisteredIoDevice<D: IoDevice>(SharedIoDevice<D>);

impl<D: IoDevice> RegisteredIoDevice<D> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// A handle that other threads may have too.
    pub fn share(&self) -> SharedIoDevice<D> {
        self.0.clone()
    }

    /// As [`SharedIoDevice::channel`].
    ///
    /// # Errors
    ///
    /// [`DeviceChannelError`].
    pub fn channel(&self) -> Result<DeviceChannel<D>, DeviceChannelError> {
        self.0.channel()
    }

    /// As [`SharedIoDevice::for_each_channel`].
    pub fn for_each_channel<F, E>(&self, closure: F) -> ForEachChannel<E>
    where
        F: FnMut(&D::Channel) -> Result<(), E> + Travels + 'static,
        E: Travels + 'static,
    {
        self.0.for_each_channel(closure)
    }

    /// Unregisters the device, and waits until the last channel on every thread is gone
    /// (`spdk_io_device_unregister`). There are no new channels from now on. The device is dropped then.
    pub fn unregister(self) -> UnregisterIoDevice<D> {
        UnregisterIoDevice {
            core: Arc::clone(&self.0.core),
        }
    }
}

impl<D: IoDevice> Drop for RegisteredIoDevice<D> {
    fn drop(&mut self) {
        self.0.core.unregister();
    }
}

/// The half of a device that may travel: it gets channels on the thread it is on. It does not keep the device
/// registered.
pub struct SharedIoDevice<D: IoDevice> {
    core: Arc<Core<D>>,
}

impl<D: IoDevice> SharedIoDevice<D> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// Gets the current SPDK thread's channel (`spdk_get_io_channel`). The first one on a thread makes the context.
    ///
    /// # Errors
    ///
    /// [`DeviceChannelError`]; among them what [`IoDevice::create_channel`] said.
    pub fn channel(&self) -> Result<DeviceChannel<D>, DeviceChannelError> {
        DeviceChannel::get(&self.core)
    }

    /// Has `closure` look at the context of each channel, on its thread, one after the other in the order of the
    /// threads' ids (as `spdk_for_each_channel`). Resolves to how many it saw. An `Err` of the closure ends it.
    ///
    /// It begins at once, may be called on any thread, and awaited on any. A channel that goes meanwhile is left out; one
    /// that comes meanwhile may be seen or not. A device that is unregistered meanwhile stays until the last of its
    /// channels is gone, and those are seen. The closure may do what code on that thread may, put and get channels, also
    /// this one. Once the future is dropped the closure is not called again.
    ///
    /// # Errors
    ///
    /// [`ForEachError`](crate::error::ForEachError).
    pub fn for_each_channel<F, E>(&self, closure: F) -> ForEachChannel<E>
    where
        F: FnMut(&D::Channel) -> Result<(), E> + Travels + 'static,
        E: Travels + 'static,
    {
        ForEachChannel::begin(&self.core, closure)
    }
}

impl<D: IoDevice> Clone for SharedIoDevice<D> {
    fn clone(&self) -> Self {
        Self {
            core: Arc::clone(&self.core),
        }
    }
}

/// Done when a device is gone; see [`RegisteredIoDevice::unregister`].
#[must_use = "await it to know when the device is gone"]
pub struct UnregisterIoDevice<D: IoDevice> {
    core: Arc<Core<D>>,
}

impl<D: IoDevice> Future for UnregisterIoDevice<D> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.core.poll_gone(cx.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl<D: IoDevice> Drop for UnregisterIoDevice<D> {
    fn drop(&mut self) {
        self.core.leave();
    }
}

impl<D: IoDevice> fmt::Debug for RegisteredIoDevice<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RegisteredIoDevice")
            .field(&self.name())
            .finish()
    }
}

impl<D: IoDevice> fmt::Debug for SharedIoDevice<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedIoDevice").field(&self.name()).finish()
    }
}

impl<D: IoDevice> fmt::Debug for UnregisterIoDevice<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UnregisterIoDevice")
            .field(&self.core.name)
            .finish()
    }
}
