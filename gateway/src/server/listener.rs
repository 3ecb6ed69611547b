//! Listening sockets that share one port.

use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Binds `count` listeners to one address; port 0 is chosen once and then shared. The kernel spreads new
/// connections over them.
///
/// # Errors
/// When the address can't be bound.
pub fn bind(address: SocketAddr, count: usize) -> std::io::Result<Vec<TcpListener>> {
    refuse_a_shared_port(address)?;
    let first = bind_one(address)?;
    let address = first.local_addr()?;
    let others = (1..count).map(|_| bind_one(address));
    std::iter::once(Ok(first)).chain(others).collect()
}

/// More listeners on an address that this program has listeners on already.
///
/// # Errors
/// When the address can't be bound.
pub fn bind_beside(address: SocketAddr, count: usize) -> std::io::Result<Vec<TcpListener>> {
    (0..count).map(|_| bind_one(address)).collect()
}

/// Deals listeners out to so many workers: each has its own, and what is left over somebody serves as well.
#[must_use]
pub fn deal(listeners: Vec<TcpListener>, workers: usize) -> Vec<Vec<TcpListener>> {
    let workers = workers.max(1);
    let mut dealt: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    for (index, listener) in listeners.into_iter().enumerate() {
        if let Some(of_worker) = dealt.get_mut(index % workers) {
            of_worker.push(listener);
        }
    }
    dealt
}

/// Another program's listener on this port would take a share of the calls without a word. Binding without
/// `SO_REUSEPORT` fails when there is one.
fn refuse_a_shared_port(address: SocketAddr) -> std::io::Result<()> {
    let probe = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    probe.set_reuse_address(true)?;
    probe.bind(&address.into())
}

fn bind_one(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
