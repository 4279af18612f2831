//! What a deploy may ask for, but nothing heeds yet.

use super::DeployRequest;

/// Given, these are checked and kept. Not among them: `tls_acme_cache_path`, which the command line always gives.
const NOT_YET: &[&str] = &[
    "buffer_memory",
    "buffer_requests",
    "buffer_responses",
    "error_pages",
    "exclude_metrics_path",
    "max_request_body",
    "max_response_body",
    "read_target",
    "read_target_websockets",
    "scope_cookie_paths",
    "tls_certificate_path",
    "tls_on_demand_url",
    "tls_private_key_path",
    "tls_staging",
    "writer_affinity_timeout",
];

impl DeployRequest {
    /// One sentence each for what asks for something that is not there yet; the default asks for nothing.
    pub(in crate::admin) fn warnings(&self) -> Vec<String> {
        let json = |request: &Self| serde_json::to_value(request).unwrap_or_default();
        let (asked, default) = (json(self), json(&Self::default()));
        let differs = |name: &&&str| asked.get(name) != default.get(name);
        let flags: Vec<String> = NOT_YET.iter().filter(differs).map(|name| flag(name)).collect();
        let mut warnings = Vec::new();
        if !flags.is_empty() {
            warnings.push(format!("no effect yet: {}", flags.join(", ")));
        }
        if self.tls {
            warnings.push("--tls: HTTPS is not served yet, HTTP is not redirected".into());
        }
        warnings
    }
}

fn flag(field: &str) -> String {
    format!("--{}", field.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn warnings(json: Value) -> Vec<String> {
        serde_json::from_value::<DeployRequest>(json).unwrap().warnings()
    }

    #[test]
    fn what_has_no_effect_yet_is_named_unless_it_asks_for_nothing() {
        let asked = serde_json::json!({"target": ["ab"], "buffer_responses": false, "buffer_requests": true});
        assert_eq!(warnings(asked), ["no effect yet: --buffer-requests"]);
        assert!(warnings(serde_json::json!({"target": ["ab"], "handoff": "drain", "tls": false})).is_empty());
    }

    #[test]
    fn who_asks_for_tls_is_told_that_there_is_none() {
        let asked = serde_json::json!({"target": ["ab"], "host": ["e.test"], "tls": true});
        let none = "--tls: HTTPS is not served yet, HTTP is not redirected";
        assert_eq!(warnings(asked), [none]);
    }

    #[test]
    fn each_of_them_is_a_field() {
        let fields = serde_json::to_value(DeployRequest::default()).unwrap();
        assert!(NOT_YET.iter().all(|name| fields.get(name).is_some()));
    }
}
