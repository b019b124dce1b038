//! Platforms: which image of an index is meant. Variants follow Go's names for processors; an ARM
//! machine also runs what was built for older ones. Source: image-spec image-index.md.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::manifest::Descriptor;
use crate::error::{Error, Kind, Result};

/// An operating system on a processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`
    pub os: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `v7`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// This machine's.
    pub fn host() -> Self {
        let variant = if std::env::consts::ARCH == "arm" { Some("v7".to_owned()) } else { None };
        Self { os: "linux".into(), architecture: go_name(std::env::consts::ARCH).into(), variant }
    }

    /// How well an image for `other` suits a wish for this: smaller is better.
    fn distance(&self, other: &Self) -> Option<u32> {
        let architecture = go_name(&other.architecture);
        if self.os != other.os || self.architecture != architecture {
            return None;
        }
        let (wanted, offered) = (self.level(), other.level());
        match architecture {
            "arm" | "arm64" => wanted.checked_sub(offered),
            _ => (wanted == offered).then_some(0),
        }
    }

    /// The variant as a number, with each processor's default for none.
    fn level(&self) -> u32 {
        let default = match go_name(&self.architecture) {
            "arm" => 7,
            "arm64" => 8,
            "amd64" => 1,
            _ => 0,
        };
        match self.variant.as_deref() {
            None | Some("") => default,
            Some(variant) => variant.trim_start_matches('v').parse().unwrap_or(u32::MAX),
        }
    }

    /// Whether an image for `other` is what was wished for.
    pub fn accepts(&self, other: &Self) -> bool {
        self.distance(other).is_some()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) if !variant.is_empty() => write!(f, "/{variant}"),
            _ => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// `os/architecture[/variant]`, or the architecture alone.
    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_word = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        };
        let (os, architecture, variant) = match parts.as_slice() {
            [architecture] => ("linux", *architecture, None),
            [os, architecture] => (*os, *architecture, None),
            [os, architecture, variant] => (*os, *architecture, Some((*variant).to_owned())),
            _ => ("", "", None),
        };
        if architecture.is_empty() || !parts.iter().all(is_word) {
            let message = format!("invalid platform {text:?}: it is os/architecture[/variant]");
            return Err(Error::new(Kind::InvalidInput, message));
        }
        let architecture = go_name(architecture).to_owned();
        Ok(Self { os: os.to_ascii_lowercase(), architecture, variant })
    }
}

/// The manifest in an index that suits the platform best; the first of equals.
pub fn choose<'a>(manifests: &'a [Descriptor], wanted: &Platform) -> Result<&'a Descriptor> {
    let suits = |manifest: &&'a Descriptor| {
        let platform = manifest.platform.as_ref()?;
        wanted.distance(platform)
    };
    let best = manifests.iter().filter(|manifest| suits(manifest).is_some()).min_by_key(suits);
    // An index of one image need not say what it is for.
    let only = match manifests {
        [only] if only.platform.is_none() => Some(only),
        _ => None,
    };
    best.or(only).ok_or_else(|| {
        let offered: Vec<String> =
            manifests.iter().filter_map(|manifest| manifest.platform.as_ref()).filter_map(known).collect();
        let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
        Error::new(Kind::NotFound, format!("no image for {wanted}; there are images for: {offered}"))
    })
}

/// Attestations lie in an index as images for no known platform.
fn known(platform: &Platform) -> Option<String> {
    (platform.os != "unknown").then(|| platform.to_string())
}

/// Go's name for a processor.
fn go_name(name: &str) -> &str {
    match name {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "x86" | "i386" | "i686" => "386",
        "armhf" | "armel" => "arm",
        "powerpc64" => "ppc64le",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::digest::Digest;

    fn index(platforms: &[&str]) -> Vec<Descriptor> {
        let descriptor = |text: &&str| Descriptor {
            media_type: "application/vnd.oci.image.manifest.v1+json".into(),
            digest: Digest::of(text.as_bytes()),
            size: 1,
            platform: text.parse().ok(),
            annotations: Default::default(),
        };
        platforms.iter().map(descriptor).collect()
    }

    #[test]
    fn the_best_platform_is_chosen() {
        let all = [
            "unknown/unknown",
            "linux/amd64",
            "linux/arm/v5",
            "linux/arm/v7",
            "linux/arm64/v8",
            "linux/386",
            "windows/amd64",
        ];
        let table = [
            ("linux/amd64", "linux/amd64"),
            ("x86_64", "linux/amd64"),
            ("linux/arm64", "linux/arm64/v8"),
            ("linux/arm/v6", "linux/arm/v5"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v8", "linux/arm/v7"),
            ("linux/386", "linux/386"),
            ("windows/amd64", "windows/amd64"),
        ];
        for (wanted, expected) in table {
            let index = index(&all);
            let chosen = choose(&index, &wanted.parse().unwrap()).unwrap();
            assert_eq!(chosen.platform.as_ref().unwrap().to_string(), expected, "{wanted}");
        }
    }

    #[test]
    fn a_missing_platform_is_answered_with_those_there_are() {
        let index = index(&["linux/amd64", "linux/arm/v7", "unknown/unknown"]);
        let error = choose(&index, &"linux/s390x".parse().unwrap()).unwrap_err();
        let text = "no image for linux/s390x; there are images for: linux/amd64, linux/arm/v7";
        assert_eq!(error.to_string(), text);
        assert!(choose(&index, &"linux/arm/v6".parse().unwrap()).is_err());
    }

    #[test]
    fn what_is_no_platform_is_refused() {
        for text in ["", "/", "linux/", "/amd64", "a/b/c/d", "linux/am d64", "linux//v7"] {
            assert!(text.parse::<Platform>().is_err(), "{text:?}");
        }
    }
}
