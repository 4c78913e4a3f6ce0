//! The network as the kernel sees it: links, errors, routes, tracked connections and ports that are left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{percent, reading, small_file};
use crate::domain::signal::{SeriesName, Subject};
use crate::ports::{Probe, Reading};

const CONNTRACK: &str = "host.conntrack.used_percent";
const PORTS: &str = "host.ports.used_percent";
/// Most interfaces that are told apart.
const LINKS: usize = 32;
/// Most bytes that are read of a table of sockets; a million sockets have about 150 MB.
const TABLE_BYTES: u64 = 32 * 1024 * 1024;
/// Percent of the ports up to which it is enough to know that no more can be in use.
const FEW: f64 = 5.0;
/// What stands in a mark for the default route; no interface may be called so.
const ROUTE: &str = "/";

/// Asks the kernel. A link or a route is missed only when it was there once: a socket without a cable is no fault.
pub struct NetworkProbe {
    proc: PathBuf,
    class: PathBuf,
    /// Links that were up once, and [`ROUTE`].
    seen: BTreeSet<String>,
    bytes: BTreeMap<String, (Instant, f64)>,
    remarks: Vec<(SeriesName, String)>,
}

impl NetworkProbe {
    /// Reads from `proc`, which is `/proc`, and from `class`, which is `/sys/class/net`.
    #[must_use]
    pub fn new(proc: impl Into<PathBuf>, class: impl Into<PathBuf>, mark: Option<&str>) -> Self {
        let seen = mark.unwrap_or_default().split_ascii_whitespace().take(LINKS).map(str::to_owned).collect();
        Self { proc: proc.into(), class: class.into(), seen, bytes: BTreeMap::new(), remarks: Vec::new() }
    }

    fn file(&self, path: &str) -> Option<String> {
        small_file(self.proc.join(path))
    }

    fn links(&mut self, readings: &mut Vec<Reading>) {
        let now = Instant::now();
        for name in links(&self.class) {
            let dir = self.class.join(&name);
            let is_up = small_file(dir.join("operstate")).is_some_and(|state| state.trim() == "up");
            if is_up && self.seen.len() < LINKS {
                self.seen.insert(name.clone());
            }
            // Both directions of a link have its speed each: the busier one counts.
            let moved = |path: &str| number(&small_file(dir.join("statistics").join(path))?);
            let speed = small_file(dir.join("speed")).as_deref().and_then(number).filter(|speed| *speed > 0.0);
            if let (Some(speed), Some(received), Some(sent)) = (speed, moved("rx_bytes"), moved("tx_bytes")) {
                for (way, bytes) in [("rx", received), ("tx", sent)] {
                    let before = self.bytes.insert(format!("{name} {way}"), (now, bytes));
                    let Some((at, before)) = before.filter(|(_, before)| *before <= bytes) else { continue };
                    let passed = (now - at).as_secs_f64();
                    if passed > 0.0 {
                        let used = percent((bytes - before) * 8.0 / passed, speed * 1e6);
                        let subject = Subject::near(&format!("{name}/{way}"));
                        readings.push(reading("host.net.used_percent", &subject, Ok(used)));
                    }
                }
            }
        }
        for name in self.seen.iter().filter(|name| *name != ROUTE) {
            let state = small_file(self.class.join(name).join("operstate"));
            let is_up = state.is_some_and(|state| state.trim() == "up");
            readings.push(reading("host.net.link", &Subject::near(name), Ok(f64::from(u8::from(is_up)))));
        }
    }

    fn route(&mut self) -> Option<f64> {
        let v4 = self.file("net/route").is_some_and(|text| text.lines().skip(1).any(is_default));
        let v6 = self.file("net/ipv6_route").is_some_and(|text| text.lines().any(is_default_v6));
        if v4 || v6 {
            self.seen.insert(ROUTE.to_owned());
        }
        self.seen.contains(ROUTE).then(|| f64::from(u8::from(v4 || v6)))
    }

    fn ports(&mut self) -> Result<f64, String> {
        let range = self.file("sys/net/ipv4/ip_local_port_range").ok_or("the kernel does not tell its local ports")?;
        let mut ends = range.split_ascii_whitespace().filter_map(|end| end.parse::<u16>().ok());
        let (Some(first), Some(last)) = (ends.next(), ends.next()) else {
            return Err("the range of local ports is not two numbers".to_owned());
        };
        let all = f64::from(last.saturating_sub(first)) + 1.0;
        if let Some(most) = self.sockets().map(|sockets| percent(sockets, all)).filter(|most| *most <= FEW) {
            let name = SeriesName::of(PORTS, Subject::default());
            self.remarks.push((name, "at most: sockets are counted, whatever their ports".to_owned()));
            return Ok(most);
        }
        let mut used = BTreeSet::new();
        for table in ["net/tcp", "net/tcp6"] {
            // Without version 6 there is no such file, and nothing to count.
            let Ok(file) = File::open(self.proc.join(table)) else { continue };
            let mut read = 0;
            for line in BufReader::new(file.take(TABLE_BYTES)).lines() {
                let line = line.map_err(|error| format!("/proc/{table}: {error}"))?;
                read += line.len() as u64 + 1;
                used.extend(local_port(&line).filter(|port| (first..=last).contains(port)));
            }
            if read >= TABLE_BYTES {
                return Err("more sockets than are counted".to_owned());
            }
        }
        Ok(percent(used.len() as f64, all))
    }

    /// How many sockets of TCP there are, whatever their ports: the kernel counts them. To have it list them, it looks through a
    /// table as large as its memory suggests, however few there are.
    fn sockets(&self) -> Option<f64> {
        let v4 = self.file("net/sockstat")?;
        let v6 = self.file("net/sockstat6").unwrap_or_default();
        let count = |text: &str, protocol: &str, name: &str| -> Option<f64> {
            let fields = text.lines().find_map(|line| line.strip_prefix(protocol))?;
            let mut fields = fields.split_ascii_whitespace().skip_while(|field| *field != name);
            fields.nth(1).and_then(number)
        };
        let here = count(&v4, "TCP:", "inuse")? + count(&v6, "TCP6:", "inuse").unwrap_or_default();
        Some(here + count(&v4, "TCP:", "orphan")? + count(&v4, "TCP:", "tw")?)
    }
}

impl Probe for NetworkProbe {
    fn read(&mut self) -> Vec<Reading> {
        self.remarks.clear();
        let host = |signal, value| reading(signal, &Subject::default(), value);
        let mut readings = Vec::new();
        readings.extend(self.file("net/dev").map(|text| host("host.net.errors", Ok(errors(&text)))));
        self.links(&mut readings);
        readings.extend(self.route().map(|there| host("host.net.route", Ok(there))));
        let ports = self.ports();
        readings.push(host(PORTS, ports));
        let tracked = |name: &str| number(&self.file(&format!("sys/net/netfilter/{name}"))?);
        match (tracked("nf_conntrack_count"), tracked("nf_conntrack_max")) {
            (Some(count), Some(most)) => readings.push(host(CONNTRACK, Ok(percent(count, most)))),
            _ => {
                let name = SeriesName::of(CONNTRACK, Subject::default());
                self.remarks.push((name, "connections are not tracked here".to_owned()));
            }
        }
        readings
    }

    fn mark(&self) -> Option<String> {
        Some(self.seen.iter().map(String::as_str).collect::<Vec<_>>().join(" "))
    }

    fn remarks(&self) -> Vec<(SeriesName, String)> {
        self.remarks.clone()
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

/// Interfaces with a device behind them; bridges, tunnels and the like come and go.
fn links(class: &Path) -> Vec<String> {
    let entries = fs::read_dir(class).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().join("device").exists())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.contains(char::is_whitespace))
        .take(LINKS)
        .collect();
    names.sort();
    names
}

/// Errors in both directions over all interfaces.
fn errors(dev: &str) -> f64 {
    let interfaces = dev.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim() != "lo");
    let errors = interfaces.map(|(_, fields)| {
        let fields: Vec<f64> = fields.split_ascii_whitespace().filter_map(number).collect();
        fields.get(2).unwrap_or(&0.0) + fields.get(10).unwrap_or(&0.0)
    });
    errors.sum()
}

/// Interface, destination, gateway, flags, three numbers, mask.
fn is_default(line: &str) -> bool {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000") && has_flag(fields.get(3), 1)
}

/// Destination, its length, source, its length, next hop, three numbers, flags, interface. `0200` refuses.
fn is_default_v6(line: &str) -> bool {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let is_all = fields.first().is_some_and(|to| to.bytes().all(|digit| digit == b'0')) && fields.get(1) == Some(&"00");
    is_all && has_flag(fields.get(8), 1) && !has_flag(fields.get(8), 0x200) && fields.get(9) != Some(&"lo")
}

fn has_flag(field: Option<&&str>, flag: u32) -> bool {
    field.and_then(|flags| u32::from_str_radix(flags, 16).ok()).is_some_and(|flags| flags & flag != 0)
}

fn local_port(line: &str) -> Option<u16> {
    let local = line.split_ascii_whitespace().nth(1)?;
    u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(dir: &Path, path: &str, text: &str) {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("below")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn value(readings: &[Reading], name: &str) -> Option<f64> {
        readings.iter().find(|reading| reading.name.to_string() == name)?.value.clone().ok()
    }

    const ROUTED: &str = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
        eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0\neth0 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n";

    #[test]
    fn b17_a_link_and_a_route_are_missed_when_they_were_there_once() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let (proc, class) = (dir.path().join("proc"), dir.path().join("class"));
        for (link, state) in [("eth0", "up\n"), ("eth1", "down\n"), ("veth7", "up\n")] {
            put(&class, &format!("{link}/operstate"), state);
        }
        for link in ["eth0", "eth1"] {
            fs::create_dir(class.join(link).join("device")).expect("made");
        }
        put(&proc, "net/route", ROUTED);
        let mut probe = NetworkProbe::new(&proc, &class, None);
        let first = probe.read();
        assert_eq!((value(&first, "host.net.link/eth0"), value(&first, "host.net.route")), (Some(1.0), Some(1.0)));
        assert_eq!(value(&first, "host.net.link/eth1"), None, "it never had a cable");
        assert_eq!(value(&first, "host.net.link/veth7"), None, "no device is behind it");
        put(&class, "eth0/operstate", "down\n");
        put(&proc, "net/route", ROUTED.split_inclusive('\n').next().expect("a head"));
        let mut next = NetworkProbe::new(&proc, &class, probe.mark().as_deref());
        let lost = next.read();
        assert_eq!((value(&lost, "host.net.link/eth0"), value(&lost, "host.net.route")), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn b19_ports_and_tracked_connections_are_counted() {
        let dir = tempfile::tempdir().expect("a temp dir");
        put(dir.path(), "sys/net/ipv4/ip_local_port_range", "32768\t32777\n");
        let tcp = "  sl  local_address rem_address   st\n   0: 0100007F:8000 00000000:0000 0A\n   \
                   1: 0100007F:8000 0100007F:0016 01\n   2: 0100007F:8001 0100007F:0016 06\n   3: 0100007F:0016 0:0 0A\n";
        put(dir.path(), "net/tcp", tcp);
        put(dir.path(), "net/tcp6", "  sl\n   0: 00000000000000000000000000000000:8009 0:0 0A\n");
        let mut probe = NetworkProbe::new(dir.path(), dir.path().join("class"), None);
        let readings = probe.read();
        assert_eq!(value(&readings, PORTS), Some(30.0), "a port with two connections is one port");
        assert_eq!(value(&readings, CONNTRACK), None);
        assert_eq!(probe.remarks()[0].0.to_string(), CONNTRACK);
        put(dir.path(), "sys/net/netfilter/nf_conntrack_count", "95\n");
        put(dir.path(), "sys/net/netfilter/nf_conntrack_max", "100\n");
        assert_eq!(value(&probe.read(), CONNTRACK), Some(95.0));
        assert_eq!(probe.remarks(), []);
    }

    #[test]
    fn b19_ports_are_not_looked_at_one_by_one_while_few_sockets_are_open() {
        let dir = tempfile::tempdir().expect("a temp dir");
        put(dir.path(), "sys/net/ipv4/ip_local_port_range", "32768\t33767\n");
        put(dir.path(), "net/tcp", "  sl\n   0: 0100007F:8000 00000000:0000 0A\n");
        let mut probe = NetworkProbe::new(dir.path(), dir.path().join("class"), None);
        for (waiting, v6, expected) in
            [(8, "", 4.0), (8, "TCP6: inuse 10\n", 5.0), (8, "TCP6: inuse 11\n", 0.1), (60, "", 0.1)]
        {
            let text =
                format!("sockets: used 24\nTCP: inuse 30 orphan 2 tw {waiting} alloc 99 mem 14\nUDP: inuse 9 mem 0\n");
            put(dir.path(), "net/sockstat", &text);
            put(dir.path(), "net/sockstat6", v6);
            assert_eq!(value(&probe.read(), PORTS), Some(expected), "{waiting} {v6}");
            let remarked = probe.remarks().iter().any(|(name, _)| name.to_string() == PORTS);
            assert_eq!(remarked, expected >= 1.0, "{waiting} {v6}");
        }
        put(dir.path(), "net/sockstat", "TCP: inuse\n");
        assert_eq!(value(&probe.read(), PORTS), Some(0.1), "who does not count lists them");
    }

    #[test]
    fn routes_of_both_versions_are_told_from_others() {
        let v6 = |to: &str, flags: &str, link: &str| {
            is_default_v6(&format!(
                "{} {to} {} 00 {} 00000400 1 0 {flags} {link}",
                "0".repeat(32),
                "0".repeat(32),
                "f".repeat(32)
            ))
        };
        assert!(v6("00", "00000003", "eth0"));
        assert!(!v6("40", "00000001", "eth0"), "a network is not all");
        assert!(!v6("00", "00000201", "eth0") && !v6("00", "00000001", "lo"), "what refuses is no route");
        assert!(ROUTED.lines().nth(1).is_some_and(is_default) && !ROUTED.lines().nth(2).is_some_and(is_default));
        let dev =
            "Inter-|\n face |\n    lo: 1 1 9 0 0 0 0 0 1 1 9 0 0 0 0 0\n  eth0: 1 1 2 0 0 0 0 0 1 1 3 0 0 0 0 0\n";
        assert_eq!(errors(dev), 5.0);
    }

    #[test]
    fn b17_how_busy_a_link_is_is_told_from_the_second_look_on() {
        let dir = tempfile::tempdir().expect("a temp dir");
        fs::create_dir_all(dir.path().join("eth0/device")).expect("made");
        put(dir.path(), "eth0/speed", "1000\n");
        put(dir.path(), "eth0/statistics/rx_bytes", "0\n");
        put(dir.path(), "eth0/statistics/tx_bytes", "0\n");
        let mut probe = NetworkProbe::new(dir.path(), dir.path(), None);
        let name = "host.net.used_percent/eth0/rx";
        assert_eq!(value(&probe.read(), name), None);
        put(dir.path(), "eth0/statistics/rx_bytes", "1000\n");
        assert!(value(&probe.read(), name).is_some_and(|used| used > 0.0));
        put(dir.path(), "eth0/statistics/rx_bytes", "5\n");
        assert_eq!(value(&probe.read(), name), None, "a counter that starts anew tells nothing");
        put(dir.path(), "eth0/speed", "-1\n");
        assert_eq!(value(&probe.read(), name), None, "nobody knows its speed");
    }

    #[test]
    fn this_machine_has_ports() {
        let used = value(&NetworkProbe::new("/proc", "/sys/class/net", None).read(), PORTS).expect("linux");
        assert!((0.0..=100.0).contains(&used), "{used}");
    }
}
