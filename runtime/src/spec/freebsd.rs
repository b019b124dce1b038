//! `freebsd`: another platform's section (config-freebsd.md). Nothing is done about it here, but "runtimes MUST generate
//! an error when invalid or unsupported values are encountered" makes no exception, so its closed lists are looked at.

use serde::Deserialize;

/// The section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct FreeBsd {
    /// The jail's parameters.
    pub jail: Option<Jail>,
}

/// What a jail shares with its parent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "named and explained in config-freebsd.md, \"Jail\"")]
pub struct Jail {
    pub host: Option<String>,
    pub ip4: Option<String>,
    pub ip6: Option<String>,
    pub vnet: Option<String>,
    pub sysvmsg: Option<String>,
    pub sysvsem: Option<String>,
    pub sysvshm: Option<String>,
}

impl Jail {
    /// Names and values of what is neither `new` nor `inherit` nor, where that exists, `disable`.
    pub fn wrong(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("host", &self.host),
            ("vnet", &self.vnet),
            ("ip4", &self.ip4),
            ("ip6", &self.ip6),
            ("sysvmsg", &self.sysvmsg),
            ("sysvsem", &self.sysvsem),
            ("sysvshm", &self.sysvshm),
        ];
        let present = all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        present.filter(|(name, value)| match *value {
            "new" | "inherit" => false,
            "disable" => matches!(*name, "host" | "vnet"),
            _ => true,
        })
    }
}
