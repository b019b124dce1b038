//! Which of an index's images is for this machine (image-spec image-index.md).

use serde_json::Value;

use crate::error::{Error, Kind, Result};

/// The architecture as Go, and so the image world, calls it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The descriptor for this machine if `document` is an index; `None` if it is a manifest. A document that is
/// both means different things to different readers and is refused (CVE-2021-41190).
pub fn choose(document: &Value) -> Result<Option<Value>> {
    let index = document.get("manifests").and_then(Value::as_array);
    let Some(manifests) = index else { return Ok(None) };
    if document.get("layers").is_some() || document.get("config").is_some() {
        return Err(Error::new(Kind::Integrity, "the document is both an index and a manifest"));
    }
    let is = |entry: &&Value, os: &str, architecture: &str| {
        entry["platform"]["os"] == os && entry["platform"]["architecture"] == architecture
    };
    if let Some(found) = manifests.iter().find(|entry| is(entry, "linux", architecture())) {
        return Ok(Some(found.clone()));
    }
    if let ([only], true) = (&manifests[..], manifests.iter().all(|entry| entry["platform"].is_null())) {
        return Ok(Some(only.clone()));
    }
    let name = |entry: &Value| {
        let part = |key: &str| entry["platform"][key].as_str().unwrap_or("unknown").to_owned();
        format!("{}/{}", part("os"), part("architecture"))
    };
    let names: Vec<String> = manifests.iter().map(name).collect();
    let message = format!("no image for linux/{} among: {}", architecture(), names.join(", "));
    Err(Error::new(Kind::NotFound, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn own_platform_is_chosen_and_others_are_listed() {
        let entry = |arch: &str| json!({"digest": arch, "platform": {"os": "linux", "architecture": arch}});
        let index = json!({"manifests": [entry("s390x"), entry(architecture())]});
        assert_eq!(choose(&index).unwrap().unwrap()["digest"], architecture());
        let error = choose(&json!({"manifests": [entry("s390x")]})).unwrap_err().to_string();
        assert!(error.contains("linux/s390x"), "{error}");
        assert!(choose(&json!({"layers": []})).unwrap().is_none());
        assert!(choose(&json!({"layers": [], "manifests": []})).is_err());
    }
}
