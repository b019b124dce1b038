//! The container's place in resctrl (config-linux.md, "IntelRdt"; kernel Documentation/filesystems/resctrl.rst).

use super::findings::Findings;
use crate::error::Error;
use crate::spec::IntelRdt;

/// What will be done there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rdt {
    /// The class's folder below the mount point; empty is the root class.
    pub class: String,
    /// Whether the class was named by the config: it is then never removed.
    pub named: bool,
    /// The L3 and MB lines, in this order; those of an existing class must equal them.
    pub compared: Vec<String>,
    /// Further lines for `schemata`, written last.
    pub schemata: Vec<String>,
    /// The monitoring group, if one is asked for.
    pub monitor: Option<String>,
}

/// Resolves `linux.intelRdt`.
pub fn resolve(wish: &IntelRdt, id: &str, findings: &mut Findings) -> Rdt {
    let field = |name: &str| format!("linux.intelRdt.{name}");
    let reserved = ["info", "mon_groups", "mon_data", ".", ".."];
    let root = wish.clos_id == "/";
    if !root && (wish.clos_id.contains('/') || reserved.contains(&wish.clos_id.as_str())) {
        findings.push(Error::at(field("closID"), format_args!("{:?} is not a folder's name", wish.clos_id)));
    }
    let mut line = |name: &str, line: &String, start: &str| {
        if line.contains('\n') || !line.starts_with(start) || line.is_empty() {
            findings.push(Error::at(field(name), format_args!("{line:?} is not one line of schemata")));
        }
        line.clone()
    };
    let mut compared = Vec::new();
    for (name, text, start) in
        [("l3CacheSchema", &wish.l3_cache_schema, ""), ("memBwSchema", &wish.mem_bw_schema, "MB:")]
    {
        if !text.is_empty() {
            compared.push(line(name, text, start));
        }
    }
    let more = wish.schemata.iter().enumerate();
    let schemata = more.map(|(index, text)| line(&format!("schemata[{index}]"), text, "")).collect();
    let class = match (root, wish.clos_id.as_str()) {
        (true, _) => String::new(),
        (false, "") => id.to_owned(),
        (false, named) => named.to_owned(),
    };
    let monitor = wish.enable_monitoring.then(|| id.to_owned());
    Rdt { class, named: !wish.clos_id.is_empty(), compared, schemata, monitor }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;

    fn resolve(wish: &IntelRdt, id: &str) -> Result<Rdt> {
        let mut findings = Findings::default();
        let rdt = super::resolve(wish, id, &mut findings);
        findings.into_result().map(|()| rdt)
    }

    #[test]
    fn class_is_named_after_the_container_and_lines_keep_their_order() {
        let wish = IntelRdt {
            l3_cache_schema: "L3:0=f".into(),
            mem_bw_schema: "MB:0=20".into(),
            schemata: vec!["L2:0=1".into()],
            ..Default::default()
        };
        let rdt = resolve(&wish, "web").unwrap();
        assert_eq!((rdt.class.as_str(), rdt.named), ("web", false));
        assert_eq!(rdt.compared, ["L3:0=f", "MB:0=20"]);
        assert_eq!(rdt.schemata, ["L2:0=1"]);
        assert_eq!(
            resolve(&IntelRdt { clos_id: "/".into(), ..Default::default() }, "web").unwrap().class,
            ""
        );
    }

    #[test]
    fn folders_and_lines_that_reach_elsewhere_are_refused() {
        for clos_id in ["..", "a/b", "info", "/x"] {
            assert!(resolve(&IntelRdt { clos_id: clos_id.into(), ..Default::default() }, "i").is_err());
        }
        let two_lines = IntelRdt { schemata: vec!["L3:0=f\nMB:0=1".into()], ..Default::default() };
        assert!(resolve(&two_lines, "i").is_err());
        assert!(resolve(&IntelRdt { mem_bw_schema: "L3:0=f".into(), ..Default::default() }, "i").is_err());
    }
}
