//! What resctrl says of a container's class and monitoring group, in the words of `runc events`.

use std::path::Path;

use serde::Serialize;

use super::Group;
use crate::error::{Context, Result};
use crate::sys::files;

/// The part `intel_rdt` of the statistics; what the processor does not have is left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names of runc's document")]
pub struct Stats {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_info: Option<L3CacheInfo>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_info: Option<MemBwInfo>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schemata: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mbm_stats: Option<Vec<MbmStats>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmt_stats: Option<Vec<CmtStats>>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names of runc's document")]
pub struct L3CacheInfo {
    pub cbm_mask: String,
    pub min_cbm_bits: u64,
    pub num_closids: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names of runc's document")]
pub struct MemBwInfo {
    pub bandwidth_gran: u64,
    pub delay_linear: u64,
    pub min_bandwidth: u64,
    pub num_closids: u64,
}

/// Bytes through the memory controllers of one node.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names of runc's document")]
pub struct MbmStats {
    pub mbm_total_bytes: u64,
    pub mbm_local_bytes: u64,
}

/// Bytes of one node's cache in use.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names of runc's document")]
pub struct CmtStats {
    pub llc_occupancy: u64,
}

impl Group {
    /// Reads all of it.
    pub fn stats(&self) -> Result<Stats> {
        let root = self.dir.ancestors().find(|path| path.join("info").is_dir()).unwrap_or(&self.dir);
        let (info, lines) = (root.join("info"), schemata(&self.dir)?);
        let root_lines = schemata(root)?;
        let line = |lines: &[String], start: &str| {
            lines.iter().find(|line| line.starts_with(start)).cloned().unwrap_or_default()
        };
        let mut stats = Stats {
            l3_cache_schema_root: line(&root_lines, "L3"),
            l3_cache_schema: line(&lines, "L3"),
            mem_bw_schema_root: line(&root_lines, "MB:"),
            mem_bw_schema: line(&lines, "MB:"),
            schemata: lines,
            ..Stats::default()
        };
        let (l3, mb) = (info.join("L3"), info.join("MB"));
        stats.l3_cache_info = l3.is_dir().then(|| L3CacheInfo {
            cbm_mask: text(&l3.join("cbm_mask")),
            min_cbm_bits: number(&l3.join("min_cbm_bits")),
            num_closids: number(&l3.join("num_closids")),
        });
        stats.mem_bw_info = mb.is_dir().then(|| MemBwInfo {
            bandwidth_gran: number(&mb.join("bandwidth_gran")),
            delay_linear: number(&mb.join("delay_linear")),
            min_bandwidth: number(&mb.join("min_bandwidth")),
            num_closids: number(&mb.join("num_closids")),
        });
        if info.join("L3_MON").is_dir() {
            self.read_nodes(&mut stats)?;
        }
        Ok(stats)
    }

    /// One folder for each node, `mon_data/mon_L3_00`.
    fn read_nodes(&self, stats: &mut Stats) -> Result<()> {
        let folder = self.monitor.as_ref().unwrap_or(&self.dir).join("mon_data");
        let mut nodes = Vec::new();
        for entry in files::entries(&folder).on("read", &folder)? {
            nodes.push(folder.join(entry.name));
        }
        nodes.sort();
        let has = |file: &str| nodes.first().is_some_and(|node| node.join(file).exists());
        let bandwidth = |node: &std::path::PathBuf| MbmStats {
            mbm_total_bytes: number(&node.join("mbm_total_bytes")),
            mbm_local_bytes: number(&node.join("mbm_local_bytes")),
        };
        let occupancy =
            |node: &std::path::PathBuf| CmtStats { llc_occupancy: number(&node.join("llc_occupancy")) };
        stats.mbm_stats = has("mbm_total_bytes").then(|| nodes.iter().map(bandwidth).collect());
        stats.cmt_stats = has("llc_occupancy").then(|| nodes.iter().map(occupancy).collect());
        Ok(())
    }
}

fn schemata(dir: &Path) -> Result<Vec<String>> {
    let path = dir.join("schemata");
    let text = files::read_to_string(&path).on("read", &path)?;
    Ok(text.lines().map(|line| line.trim().to_owned()).collect())
}

/// A file's text; none when the processor lacks it.
fn text(path: &Path) -> String {
    files::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Counters can read `Unavailable` or `Error`, which counts as nothing.
fn number(path: &Path) -> u64 {
    text(path).parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_counted_in_order_and_what_is_missing_is_left_out() {
        let root = std::env::temp_dir().join(format!("wharf-rdt-stats-{}", std::process::id()));
        for (file, text) in [
            ("info/L3/cbm_mask", "fff\n"),
            ("info/L3/min_cbm_bits", "1\n"),
            ("info/L3_MON/mon_features", "llc_occupancy\n"),
            ("schemata", "    L3:0=fff\n"),
            ("web/schemata", "    L3:0=00f\n"),
            ("web/mon_data/mon_L3_01/llc_occupancy", "Unavailable\n"),
            ("web/mon_data/mon_L3_00/llc_occupancy", "42\n"),
        ] {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let stats = Group { dir: root.join("web"), created: true, monitor: None }.stats().unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(
            (stats.l3_cache_schema.as_str(), stats.l3_cache_schema_root.as_str()),
            ("L3:0=00f", "L3:0=fff")
        );
        assert_eq!(stats.cmt_stats, Some(vec![CmtStats { llc_occupancy: 42 }, CmtStats::default()]));
        assert!(stats.mbm_stats.is_none() && stats.mem_bw_info.is_none());
        assert_eq!(serde_json::to_string(&Stats::default()).unwrap(), "{}");
    }
}
