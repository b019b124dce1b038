//! config-linux.md: "Memory policy", "Masked Paths", "Readonly Paths", "Personality": what is required and what is
//! refused. What they do is shown with the properties that `create` applies (runtime.md).

use serde_json::json;

use crate::container::{refused, required};
use crate::requirement::Tried;
use crate::world::need;

section! { MEMORY_POLICY = "config-linux.md" # "configLinuxMemoryPolicy";
    "mode (string, REQUIRED)" => [memory_policy_without_a_mode_is_refused],
}

section! { MASKED = "config-linux.md" # "configLinuxMaskedPaths";
    "The values MUST be absolute paths in the container namespace." => [relative_masked_path_is_refused],
}

section! { READ_ONLY = "config-linux.md" # "configLinuxReadonlyPaths";
    "The values MUST be absolute paths in the container namespace." => [relative_read_only_path_is_refused],
}

section! { PERSONALITY = "config-linux.md" # "configLinuxPersonality";
    "domain (string, REQUIRED) - the execution domain." => [personality_without_a_domain_is_refused],
}

fn memory_policy_without_a_mode_is_refused() -> Tried {
    need("/proc/self/numa_maps", "no NUMA")?;
    required("/linux/memoryPolicy/mode", |c| c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_DEFAULT"}));
    Ok(())
}

fn relative_masked_path_is_refused() {
    for path in ["tmp", "./proc/kcore", ""] {
        refused(|c| c["linux"]["maskedPaths"] = json!([path]));
    }
}

fn relative_read_only_path_is_refused() {
    for path in ["tmp", "./proc/sys", ""] {
        refused(|c| c["linux"]["readonlyPaths"] = json!([path]));
    }
}

fn personality_without_a_domain_is_refused() {
    required("/linux/personality/domain", |c| c["linux"]["personality"] = json!({"domain": "LINUX"}));
}
