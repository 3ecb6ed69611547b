//! Free ports that no other test program takes meanwhile.
//!
//! A port found free by binding it to 0 may be given to somebody else before the server under test binds it.
//! So ports come from below the kernel's ephemeral range, and each is reserved by a lock on a file that this
//! program holds as long as it lives.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Context;

const SINGLE_PORTS: Range<u16> = 11_000..19_000;
const OFFSETS: Range<u16> = 11_000..23_000;
const STANDALONE_PORTS: [u16; 6] = [8080, 8081, 8082, 8089, 9090, 9091];

static TAKEN: AtomicU16 = AtomicU16::new(0);
static RESERVED: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A free port of 127.0.0.1, reserved for this program.
///
/// # Errors
/// When there is none.
pub fn free_port() -> anyhow::Result<u16> {
    candidates(SINGLE_PORTS)
        .find(|port| reserve(&[*port]))
        .context("no free port")
}

/// 127.0.0.1 with a free port, reserved for this program.
///
/// # Errors
/// When there is none.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)))
}

/// A number for `keyward standalone --listen-offset` with which all its ports are free and reserved.
///
/// # Errors
/// When there is none.
pub fn free_offset() -> anyhow::Result<u16> {
    candidates(OFFSETS)
        .find(|offset| reserve(&STANDALONE_PORTS.map(|port| port + offset)))
        .context("no free block of ports")
}

/// All of a range, from a place on that differs between programs and calls.
fn candidates(range: Range<u16>) -> impl Iterator<Item = u16> {
    let length = range.end - range.start;
    let program = std::process::id().wrapping_mul(31);
    let call = u32::from(TAKEN.fetch_add(1, Ordering::Relaxed));
    let from = program.wrapping_add(call) % u32::from(length);
    let from = u16::try_from(from).unwrap_or_default();
    (0..length).map(move |step| range.start + (from + step) % length)
}

fn reserve(ports: &[u16]) -> bool {
    let Ok(mut reserved) = RESERVED.lock() else {
        return false;
    };
    let locked = ports
        .iter()
        .map(|port| lock(*port).filter(|_| is_free(*port)))
        .collect::<Option<Vec<File>>>();
    match locked {
        Some(files) => {
            reserved.extend(files);
            true
        }
        None => false,
    }
}

fn lock(port: u16) -> Option<File> {
    let folder = std::env::temp_dir().join("keyward-test-ports");
    std::fs::create_dir_all(&folder).ok()?;
    let file = File::create(folder.join(port.to_string())).ok()?;
    file.try_lock().ok()?;
    Some(file)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}
