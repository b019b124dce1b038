//! Moves network devices of the host into the container (config-linux.md, "Network Devices"), over rtnetlink(7):
//! one socket in the host's network namespace, one in the container's.
//!
//! The move takes a device's addresses away, so they are read before and given back after. All else (MTU,
//! hardware address) stays with the device. Nobody moves it back: it belongs to its namespace from now on.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use nix::sched::CloneFlags;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use crate::error::{Context, Error, Kind, Result};
use crate::plan::network::NetDevice;
use crate::sys::again::again;
use crate::sys::files;

// linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NEWLINK: u16 = 16;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const GETADDR: u16 = 22;
const REQUEST_ACK: u16 = 0x1 | 0x4;
const REQUEST_DUMP: u16 = 0x1 | 0x300;
const CREATE: u16 = 0x400;
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_FLAGS: u16 = 8;
/// Address, local, broadcast, flags: what makes an address; its label is made of the device's old name.
const KEPT: [u16; 4] = [1, 2, 4, IFA_FLAGS];
const IFA_F_PERMANENT: u32 = 0x80;
const SCOPE_UNIVERSE: u8 = 0;
const IFF_UP: u32 = 1;

/// Moves all into the network namespace of `pid`.
pub fn move_in(devices: &[NetDevice], pid: i32) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let path = format!("/proc/{pid}/ns/net");
    let namespace = files::open(&path).on("open", path)?;
    let host = Netlink::open()?;
    let inside = open_inside(&namespace)?;
    for device in devices {
        move_one(device, &host, &inside, &namespace)
            .in_field(format!("linux.netDevices[\"{}\"]", device.host_name))?;
    }
    Ok(())
}

fn move_one(device: &NetDevice, host: &Netlink, inside: &Netlink, namespace: &File) -> Result<()> {
    let index =
        again(|| nix::net::if_::if_nametoindex(device.host_name.as_str())).context("find the device")?;
    let addresses = host.addresses(index)?;
    let before = inside.links()?;
    let name = [device.name.as_bytes(), b"\0"].concat();
    // The kernel would see it after the move, and then the device would be lost with the namespace.
    if !device.name.contains('%') && inside.has(&name)? {
        let message = format!("the container has a device {:?} already", device.name);
        return Err(Error::new(Kind::AlreadyExists, message));
    }
    let target = namespace.as_raw_fd().to_ne_bytes();
    let request =
        [link(index, 0), attribute(IFLA_NET_NS_FD, &target), attribute(IFLA_IFNAME, &name)].concat();
    host.ask(NEWLINK, REQUEST_ACK, &request)
        .with_context(|| format!("move it into the container as {:?}", device.name))?;
    let after = inside.links()?;
    let new = after.into_iter().find(|index| !before.contains(index));
    let index = new.ok_or_else(|| Error::new(Kind::System, "the device did not arrive"))?;
    for mut address in addresses {
        if let Some(place) = address.get_mut(4..8) {
            place.copy_from_slice(&index.to_ne_bytes());
        }
        inside.ask(NEWADDR, REQUEST_ACK | CREATE, &address).context("restore its address")?;
    }
    inside.ask(NEWLINK, REQUEST_ACK, &link(index, IFF_UP)).context("set it up")?;
    Ok(())
}

/// Sets the loopback device of `pid`'s network namespace up.
pub fn set_loopback_up(pid: i32) -> Result<()> {
    let path = format!("/proc/{pid}/ns/net");
    let namespace = files::open(&path).on("open", path)?;
    inside(&namespace, || crate::sys::network::set_loopback_up().context("set lo up"))
}

/// A socket keeps the namespace it was made in: this process goes there just for that.
fn open_inside(namespace: &File) -> Result<Netlink> {
    inside(namespace, Netlink::open)
}

fn inside<T>(namespace: &File, story: impl FnOnce() -> Result<T>) -> Result<T> {
    let own = files::open("/proc/self/ns/net").on("open", "/proc/self/ns/net")?;
    again(|| nix::sched::setns(namespace, CloneFlags::CLONE_NEWNET))
        .context("enter the container's network namespace")?;
    let result = story();
    again(|| nix::sched::setns(own.as_fd(), CloneFlags::CLONE_NEWNET))
        .context("return to the own network namespace")?;
    result
}

struct Netlink(OwnedFd);

impl Netlink {
    fn open() -> Result<Netlink> {
        let (family, protocol) = (AddressFamily::Netlink, SockProtocol::NetlinkRoute);
        let socket = again(|| socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol));
        Ok(Netlink(socket.context("open netlink socket")?))
    }

    /// Sends a request and returns the answers' types and bodies; an error that the kernel answers is one.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> Result<Vec<(u16, Vec<u8>)>> {
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX).saturating_add(16);
        let header = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8]].concat();
        again(|| send(self.0.as_raw_fd(), &[&header, body].concat(), MsgFlags::empty()))
            .context("send to the kernel")?;
        let mut answers = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length =
                again(|| recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())).context("read netlink")?;
            let mut rest = buffer.get(..length).unwrap_or_default();
            while let Some((kind, body, after)) = next_message(rest) {
                rest = after;
                match kind {
                    NLMSG_DONE => return Ok(answers),
                    NLMSG_ERROR => {
                        let code = body.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
                        let error = std::io::Error::from_raw_os_error(code.saturating_neg());
                        return if code == 0 { Ok(answers) } else { Err(error).context("netlink") };
                    }
                    kind => answers.push((kind, body.to_vec())),
                }
            }
        }
    }

    /// The numbers of all devices.
    fn links(&self) -> Result<Vec<u32>> {
        let answers = self.ask(GETLINK, REQUEST_DUMP, &link(0, 0)).context("list network devices")?;
        Ok(answers.iter().filter_map(|(_, body)| number(body, 4)).collect())
    }

    /// Whether there is a device of this name, which ends in a NUL.
    fn has(&self, name: &[u8]) -> Result<bool> {
        let request = [link(0, 0), attribute(IFLA_IFNAME, name)].concat();
        match self.ask(GETLINK, REQUEST_ACK, &request) {
            Ok(_) => Ok(true),
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(false),
            Err(error) => Err(error).context("look for a device of its new name"),
        }
    }

    /// The permanent global addresses of a device, each as the request that makes it again.
    fn addresses(&self, index: u32) -> Result<Vec<Vec<u8>>> {
        let answers = self.ask(GETADDR, REQUEST_DUMP, &[0; 8]).context("list addresses")?;
        let mut result = Vec::new();
        for (_, body) in answers {
            let Some((head @ [_, _, flags, scope, ..], rest)) = body.split_first_chunk::<8>() else {
                continue;
            };
            if number(head, 4) != Some(index) || *scope != SCOPE_UNIVERSE {
                continue;
            }
            let attributes = attributes(rest);
            let long = attributes.iter().find(|(kind, _)| *kind == IFA_FLAGS).and_then(|(_, v)| number(v, 0));
            if long.unwrap_or(u32::from(*flags)) & IFA_F_PERMANENT == 0 {
                continue;
            }
            let mut request = head.to_vec();
            for (kind, value) in attributes.iter().filter(|(kind, _)| KEPT.contains(kind)) {
                request.extend(attribute(*kind, value));
            }
            result.push(request);
        }
        Ok(result)
    }
}

/// `struct ifinfomsg`, with flags to set.
fn link(index: u32, set: u32) -> Vec<u8> {
    [&[0; 4][..], &index.to_ne_bytes(), &set.to_ne_bytes(), &set.to_ne_bytes()].concat()
}

/// `struct rtattr`, padded.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX).saturating_add(4);
    let mut result = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    result.resize(result.len().next_multiple_of(4), 0);
    result
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// The first message's type and body, and what follows it.
pub(crate) fn next_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = number(bytes, 0)? as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(16..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

pub(crate) fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut result = Vec::new();
    while let Some(header) = bytes.first_chunk::<4>() {
        let (length, kind) = (u16::from_ne_bytes([header[0], header[1]]) as usize, [header[2], header[3]]);
        let Some(value) = bytes.get(4..length) else { break };
        result.push((u16::from_ne_bytes(kind) & 0x3fff, value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_written_and_cut_ones_end_the_list() {
        let bytes = [attribute(3, b"eth0\0"), attribute(28, &[1, 2, 3, 4])].concat();
        assert_eq!(attributes(&bytes), [(3, &b"eth0\0"[..]), (28, &[1, 2, 3, 4][..])]);
        assert_eq!(attributes(&bytes[..bytes.len() - 1]), [(3, &b"eth0\0"[..])]);
        assert!(attributes(&[0, 0, 0, 0]).is_empty());
    }
}
