//! Telling systemd which process serves (`sd_notify(3)`): after a hand-over that is another one than it started.
//!
//! Without `NOTIFY_SOCKET` nobody wants to know. What can't be told changes nothing for calls; it is logged.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Tells that this process serves, and that it is the one to be watched.
pub fn tell() {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = tell_at(name.as_bytes(), std::process::id()) {
        tracing::warn!(%error, "systemd can't be told which process serves");
    }
}

fn tell_at(name: &[u8], pid: u32) -> io::Result<()> {
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    let said = format!("READY=1\nMAINPID={pid}\n");
    UnixDatagram::unbound()?.send_to_addr(said.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_is_told_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let at_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("keyward-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let abstractly = UnixDatagram::bind_addr(&address).unwrap();
        for (socket, told) in [
            (at_path, path.into_os_string().into_string().unwrap()),
            (abstractly, format!("@{name}")),
        ] {
            tell_at(told.as_bytes(), 77).unwrap();
            let mut heard = [0; 64];
            let length = socket.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], b"READY=1\nMAINPID=77\n");
        }
        assert!(tell_at(b"/nowhere/at/all", 77).is_err());
    }
}
