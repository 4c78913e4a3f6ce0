//! How a disk says that it is: what `smartctl` (7.0 or later, of smartmontools) reads from it, as JSON.

use serde::Deserialize;

use super::reading;
use crate::domain::signal::Subject;
use crate::ports::{Exec, Exit, Probe, Program, Reading};

/// Numbers of the attributes that count sectors which cannot be read or were given up: reallocated, pending, uncorrectable.
const BAD_SECTORS: [u64; 3] = [5, 197, 198];
/// Bits of smartctl's exit code that say that nothing was read: wrong words, no device, a command that failed.
const NOT_READ: i32 = 0b111;

/// Asks one disk.
pub struct SmartProbe<E> {
    name: Subject,
    program: Program,
    exec: E,
}

#[derive(Deserialize, Default)]
struct Report {
    smart_status: Option<Passed>,
    ata_smart_attributes: Option<Attributes>,
    nvme_smart_health_information_log: Option<Nvme>,
    #[serde(default)]
    smartctl: Smartctl,
}

#[derive(Deserialize)]
struct Passed {
    passed: bool,
}

#[derive(Deserialize)]
struct Attributes {
    table: Vec<Attribute>,
}

#[derive(Deserialize)]
struct Attribute {
    id: u64,
    raw: Raw,
}

#[derive(Deserialize)]
struct Raw {
    value: u64,
}

#[derive(Deserialize)]
struct Nvme {
    media_errors: u64,
    percentage_used: u64,
}

#[derive(Deserialize, Default)]
struct Smartctl {
    #[serde(default)]
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    string: String,
}

impl<E: Exec> SmartProbe<E> {
    /// Reads what `program` prints, which is smartctl with the words for one disk.
    #[must_use]
    pub fn new(name: Subject, program: Program, exec: E) -> Self {
        Self { name, program, exec }
    }

    fn ask(&self) -> Result<Report, String> {
        let ran = self.exec.run(&self.program);
        let code = match ran.exit {
            Exit::Code(code) => code,
            Exit::Signal(signal) => return Err(format!("smartctl was ended by signal {signal}")),
            Exit::TimedOut => return Err("no answer in time".to_owned()),
            Exit::NotStarted(why) => return Err(format!("{why}: apt-get install smartmontools")),
        };
        let report = serde_json::from_slice::<Report>(&ran.stdout);
        let report =
            report.map_err(|_| format!("smartctl ended with {code} and printed no JSON: it must be 7.0 or later"))?;
        if code & NOT_READ != 0 && report.smart_status.is_none() {
            let said = report.smartctl.messages.into_iter().next().map(|message| message.string);
            return Err(said.unwrap_or_else(|| format!("smartctl ended with {code}")));
        }
        Ok(report)
    }
}

/// What is read of a report; the first reading is always there.
fn readings(name: &Subject, report: Result<Report, String>) -> Vec<Reading> {
    let (report, healthy) = match report {
        Ok(report) => {
            let passed = report.smart_status.as_ref().map(|status| f64::from(u8::from(status.passed)));
            (report, passed.ok_or_else(|| "the disk does not say how it is".to_owned()))
        }
        Err(why) => (Report::default(), Err(why)),
    };
    let mut told = vec![reading("host.smart.healthy", name, healthy)];
    if let Some(attributes) = &report.ata_smart_attributes {
        let bad = attributes.table.iter().filter(|one| BAD_SECTORS.contains(&one.id));
        // The upper half of the raw number holds other counts with some makers.
        let bad = bad.map(|one| one.raw.value & 0xffff_ffff).fold(0, u64::saturating_add);
        told.push(reading("host.smart.bad_sectors", name, Ok(bad as f64)));
    }
    if let Some(nvme) = &report.nvme_smart_health_information_log {
        told.push(reading("host.smart.bad_sectors", name, Ok(nvme.media_errors as f64)));
        told.push(reading("host.smart.worn_percent", name, Ok(nvme.percentage_used as f64)));
    }
    told
}

impl<E: Exec + Send> Probe for SmartProbe<E> {
    fn read(&mut self) -> Vec<Reading> {
        readings(&self.name, self.ask())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Ran;

    /// Parts of what smartctl 7.3 prints.
    const ATA: &str = r#"{"json_format_version":[1,0],"smartctl":{"version":[7,3],"exit_status":0},
        "device":{"name":"/dev/sda","type":"sat"},"smart_status":{"passed":true},
        "ata_smart_attributes":{"revision":10,"table":[
            {"id":5,"name":"Reallocated_Sector_Ct","value":100,"worst":100,"thresh":10,"raw":{"value":8,"string":"8"}},
            {"id":194,"name":"Temperature_Celsius","value":64,"worst":45,"thresh":0,"raw":{"value":240519151652,"string":"36"}},
            {"id":197,"name":"Current_Pending_Sector","value":100,"worst":100,"thresh":0,"raw":{"value":4294967298,"string":"2"}}]}}"#;
    const NVME: &str = r#"{"smartctl":{"exit_status":8},"smart_status":{"passed":false,"nvme":{"value":4}},
        "nvme_smart_health_information_log":{"critical_warning":4,"temperature":41,"percentage_used":103,"media_errors":7}}"#;
    const NONE: &str = r#"{"smartctl":{"exit_status":2,"messages":[{"string":"Smartctl open device: /dev/sdz failed: No such device","severity":"error"}]}}"#;

    struct Prints(Exit, &'static str);

    impl Exec for Prints {
        fn run(&self, _program: &Program) -> Ran {
            let took = std::time::Duration::ZERO;
            Ran { exit: self.0.clone(), stdout: self.1.as_bytes().to_vec(), stderr: Vec::new(), took }
        }
    }

    fn told(exit: Exit, text: &'static str) -> Vec<(&'static str, Result<f64, String>)> {
        let argv = vec!["smartctl".to_owned()];
        let program =
            Program { argv, dir: "/".into(), timeout: std::time::Duration::from_secs(1), output_cap: 1, memory: None };
        let mut probe = SmartProbe::new("sda".parse().expect("a subject"), program, Prints(exit, text));
        probe.read().into_iter().map(|one| (one.name.signal.name, one.value)).collect()
    }

    #[test]
    fn b8_what_a_disk_says_of_itself_is_read_and_what_it_does_not_say_is_unknown() {
        let (healthy, bad, worn) = ("host.smart.healthy", "host.smart.bad_sectors", "host.smart.worn_percent");
        assert_eq!(told(Exit::Code(0), ATA), [(healthy, Ok(1.0)), (bad, Ok(10.0))]);
        assert_eq!(told(Exit::Code(8), NVME), [(healthy, Ok(0.0)), (bad, Ok(7.0)), (worn, Ok(103.0))]);
        let why = |exit, text| told(exit, text).remove(0).1.expect_err("unknown");
        assert!(why(Exit::Code(2), NONE).contains("No such device"));
        assert!(why(Exit::Code(0), "{}").contains("does not say"));
        assert!(why(Exit::Code(1), "smartctl 6.6\nUNRECOGNIZED OPTION: json").contains("7.0 or later"));
        assert!(why(Exit::NotStarted("no program smartctl".to_owned()), "").contains("apt-get install smartmontools"));
        assert!(why(Exit::TimedOut, "").contains("in time"));
    }
}
