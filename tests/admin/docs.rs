//! What docs/admin-api.md tells people to type works.

use std::process::{Command, Stdio};

use crate::world::{Home, Proxy, Said, app};

const DOCS: &str = include_str!("../../docs/admin-api.md");

#[test]
fn every_line_of_the_docs_works_in_their_order() {
    let (home, app) = (Home::new(), app());
    let _proxy = Proxy::at(&home);
    let blocks: Vec<&str> = DOCS.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 10, "found {}", blocks.len());
    for block in blocks {
        let script = block.replace("127.0.0.1:3000", &app);
        let output =
            Command::new("sh").args(["-ec", &script]).env("SOCKET", home.socket()).stdin(Stdio::null()).output();
        let said = Said::from(output.expect("sh starts"));
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{script}{}", said.out);
        let last = said.out.lines().last().expect("an answer");
        let answer: serde_json::Value = serde_json::from_str(last).expect("JSON");
        assert!(answer.get("failure").is_none(), "{script}{answer}");
    }
}

#[test]
fn the_docs_name_every_field_of_a_deploy() {
    let fields = serde_json::to_value(lockgate::admin::DeployRequest::default()).expect("JSON");
    for field in fields.as_object().expect("an object").keys() {
        assert!(DOCS.contains(&format!("`{field}`")), "{field} is not described");
    }
}
