//! Whole Ethernet frames in and out of an interface inside a namespace, through a packet socket.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, bind, recv, send, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::{Namespace, Veth};

/// A packet socket bound to the inner end of a veth pair.
pub struct RawSocket(OwnedFd);

impl RawSocket {
    /// Opens it; from here on every frame that reaches the inner end is queued.
    pub fn open(namespace: &Namespace, veth: &Veth) -> Self {
        namespace.enter(|| {
            let name = veth.peer.as_str();
            let index =
                if_nametoindex(name).unwrap_or_else(|error| panic!("no interface {name}: {error}")) as usize;
            let address = getifaddrs()
                .expect("the kernel lists interfaces")
                .filter_map(|interface| interface.address)
                .find_map(|address| address.as_link_addr().copied().filter(|link| link.ifindex() == index))
                .expect("a veth has a link-layer address");
            let socket =
                socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
                    .expect("root opens packet sockets");
            bind(socket.as_raw_fd(), &address)
                .unwrap_or_else(|error| panic!("cannot bind to {name}: {error}"));
            RawSocket(socket)
        })
    }

    /// Sends one frame as it is.
    pub fn send(&self, frame: &[u8]) {
        match send(self.0.as_raw_fd(), frame, MsgFlags::empty()) {
            Ok(sent) => assert_eq!(sent, frame.len()),
            Err(error) => panic!("cannot send a frame of {} bytes: {error}", frame.len()),
        }
    }

    /// The next frame for which `wanted` gives a value, or `None` after `limit`.
    pub fn receive<T>(&self, limit: Duration, mut wanted: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut buffer = [0; 65_536];
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).as_millis();
            let left = i64::try_from(left).expect("limits are seconds").max(1);
            setsockopt(&self.0, sockopt::ReceiveTimeout, &TimeVal::milliseconds(left))
                .expect("a valid option");
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(len) => {
                    if let Some(value) = wanted(&buffer[..len]) {
                        return Some(value);
                    }
                }
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => panic!("cannot receive: {error}"),
            }
            if Instant::now() >= deadline {
                return None;
            }
        }
    }
}
