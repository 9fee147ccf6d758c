//! JSON-RPC over TCP, for those who ask for it: SPDK itself listens on Unix sockets only, so bytes are carried to and fro.
//!
//! OS threads of their own do it, none of which SPDK knows.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Connections at once; SPDK takes 64 on its socket.
const MOST: usize = 32;

/// Listens on `address` from now on, and carries what comes to the Unix socket at `path`. The address that it got.
///
/// It ends with the process.
pub(crate) fn serve(address: SocketAddr, path: &Path) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let bound = listener.local_addr()?;
    let path: Arc<PathBuf> = Arc::new(path.to_owned());
    thread::Builder::new()
        .name("rpc-tcp".into())
        .spawn(move || listen(&listener, &path))?;
    Ok(bound)
}

fn listen(listener: &TcpListener, path: &Arc<PathBuf>) {
    let open = Arc::new(AtomicUsize::new(0));
    for client in listener.incoming() {
        let Ok(client) = client else {
            // Out of descriptors, say: others may end meanwhile.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        let slot = Slot(Arc::clone(&open));
        if open.fetch_add(1, Ordering::Relaxed) >= MOST {
            drop(slot);
            continue;
        }
        let path = Arc::clone(path);
        // If there is no thread, the connection closes, and the client sees that.
        let _ = thread::Builder::new()
            .name("rpc-tcp-client".into())
            .spawn(move || {
                let _slot = slot;
                let _ = carry(&client, &path);
            });
    }
}

/// One of [`MOST`].
struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Both directions, until both have ended.
fn carry(client: &TcpStream, path: &Path) -> io::Result<()> {
    let target = UnixStream::connect(path)?;
    // Answers are small, and somebody waits for them.
    client.set_nodelay(true)?;
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::copy(&mut &*client, &mut &target);
            let _ = target.shutdown(Shutdown::Write);
        });
        let _ = io::copy(&mut &target, &mut &*client);
        // Whatever the client still says, nobody hears it.
        let _ = client.shutdown(Shutdown::Both);
        Ok(())
    })
}
