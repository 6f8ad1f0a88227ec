//! The import rules. The handler's shape makes its guarantees checkable: `domain` does no I/O, each AWS
//! service has one edge, the planner contains no AWS, the edges contain no decisions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use repository::root;
use syn::visit::{self, Visit};

/// The names that a file uses outside its tests, and some of its constructs.
#[derive(Default)]
struct Seen {
    names: BTreeSet<String>,
    asynchronous: bool,
    traits: bool,
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|flag| flag == "test")
    })
}

impl<'ast> Visit<'ast> for Seen {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.traits = true;
        visit::visit_item_trait(self, item);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.asynchronous |= signature.asyncness.is_some();
        visit::visit_signature(self, signature);
    }

    fn visit_expr_async(&mut self, expression: &'ast syn::ExprAsync) {
        self.asynchronous = true;
        visit::visit_expr_async(self, expression);
    }

    fn visit_expr_await(&mut self, expression: &'ast syn::ExprAwait) {
        self.asynchronous = true;
        visit::visit_expr_await(self, expression);
    }

    fn visit_use_tree(&mut self, tree: &'ast syn::UseTree) {
        self.names.extend(leaves(tree));
        visit::visit_use_tree(self, tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.names.insert(segments.join("::"));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        let segments: Vec<String> =
            called.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.names.insert(segments.join("::"));
        visit::visit_macro(self, called);
    }
}

/// The full paths of a `use`.
fn leaves(tree: &syn::UseTree) -> Vec<String> {
    match tree {
        syn::UseTree::Path(path) => {
            let below = leaves(&path.tree);
            below.iter().map(|leaf| format!("{}::{leaf}", path.ident)).collect()
        }
        syn::UseTree::Name(name) => vec![name.ident.to_string()],
        syn::UseTree::Rename(rename) => vec![rename.ident.to_string()],
        syn::UseTree::Glob(_) => vec!["*".into()],
        syn::UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
    }
}

impl Seen {
    fn names(&self, prefix: &str) -> bool {
        self.names.iter().any(|name| name == prefix || name.starts_with(&format!("{prefix}::")))
    }
}

/// The handler's modules by path, such as `domain/plan`.
fn modules() -> BTreeMap<String, Seen> {
    let mut modules = BTreeMap::new();
    read_folder(&root().join("handler/src"), "", &mut modules);
    assert!(modules.len() > 20, "found only {:?}", modules.keys());
    modules
}

fn read_folder(folder: &Path, prefix: &str, modules: &mut BTreeMap<String, Seen>) {
    for entry in std::fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("a directory entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy();
        if path.is_dir() {
            read_folder(&path, &format!("{prefix}{name}/"), modules);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("readable");
            let mut seen = Seen::default();
            seen.visit_file(&syn::parse_file(&text).expect("valid Rust"));
            modules.insert(format!("{prefix}{name}"), seen);
        }
    }
}

/// The modules of `domain`, except the fixtures of its tests.
fn domain() -> BTreeMap<String, Seen> {
    let mut modules = modules();
    modules.retain(|name, _| name.starts_with("domain/") && name != "domain/fixtures");
    modules
}

#[test]
fn the_domain_does_no_io() {
    let forbidden = [
        "tokio",
        "futures_util",
        "lambda_runtime",
        "tracing",
        "metrics",
        "aws_config",
        "aws_types",
        "aws_smithy_types",
        "aws_smithy_runtime_api",
        "aws_sdk_ecs",
        "aws_sdk_route53",
        "aws_sdk_elasticloadbalancing",
        "aws_sdk_elasticloadbalancingv2",
        "std::time",
        "std::env",
        "std::fs",
        "std::net",
        "std::process",
        "std::thread",
        "std::io",
        "println",
        "eprintln",
    ];
    for (name, seen) in domain() {
        assert!(!seen.asynchronous, "{name} is asynchronous");
        for other in forbidden {
            assert!(!seen.names(other), "{name} uses {other}");
        }
        // Within the crate, the domain uses nothing but the domain.
        let others = seen.names.iter().filter(|used| used.starts_with("crate::"));
        let outside: Vec<_> = others.filter(|used| !used.starts_with("crate::domain::")).collect();
        assert!(outside.is_empty(), "{name} uses {outside:?}");
    }
}

#[test]
fn each_sdk_is_used_by_its_edge_only() {
    let modules = modules();
    for (sdk, edge) in [
        ("aws_sdk_ecs", "aws/ecs"),
        ("aws_sdk_elasticloadbalancing", "aws/elb_classic"),
        ("aws_sdk_elasticloadbalancingv2", "aws/elb"),
        ("aws_sdk_route53", "aws/route53"),
    ] {
        let users: Vec<&str> = modules
            .iter()
            .filter(|(_, seen)| seen.names(sdk))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(users, [edge], "{sdk}");
    }
}

#[test]
fn the_planner_uses_no_world_and_the_ecs_edge_no_dns() {
    let modules = modules();
    for module in ["world", "trigger", "event", "request", "check"] {
        let path = format!("crate::domain::{module}");
        assert!(!modules["domain/plan"].names(&path), "plan uses {module}");
    }
    for module in ["dns", "zone", "marker", "plan", "desired"] {
        let path = format!("crate::domain::{module}");
        assert!(!modules["aws/ecs"].names(&path), "ecs uses {module}");
    }
}

#[test]
fn the_edges_use_nothing_of_the_run() {
    for (name, seen) in modules() {
        if name.starts_with("aws/") {
            for module in ["reconcile", "observe", "apply", "invocation", "metrics"] {
                assert!(!seen.names(&format!("crate::{module}")), "{name} uses {module}");
            }
        }
    }
}

#[test]
fn no_trait_separates_the_edges_from_the_sdk() {
    for (name, seen) in modules() {
        assert!(!seen.traits, "{name} declares a trait");
    }
}
