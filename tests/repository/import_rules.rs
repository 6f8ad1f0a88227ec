//! Who may know whom. The handler's shape is what makes its promises checkable: pure modules do
//! no I/O, each AWS service has one edge, the planner knows no AWS.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::{self, Visit};

const PURE: [&str; 11] = [
    "config", "trigger", "service", "tags", "dns", "marker", "zone", "world", "desired", "plan",
    "report",
];

/// All path segments that a file names outside its tests, and what it does.
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

/// The whole paths that a `use` brings in.
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

fn modules() -> BTreeMap<String, Seen> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../handler/src");
    let mut modules = BTreeMap::new();
    for entry in std::fs::read_dir(source).expect("the handler's source") {
        let path = entry.expect("a file").path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("readable");
        let mut seen = Seen::default();
        seen.visit_file(&syn::parse_file(&text).expect("Rust"));
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        modules.insert(name, seen);
    }
    modules
}

#[test]
fn pure_modules_do_no_io() {
    let modules = modules();
    let forbidden = [
        "tokio",
        "futures_util",
        "lambda_runtime",
        "tracing",
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
        "println",
        "eprintln",
    ];
    for name in PURE {
        let seen = &modules[name];
        assert!(!seen.asynchronous, "{name} is asynchronous");
        for other in forbidden {
            assert!(!seen.names(other), "{name} names {other}");
        }
        for edge in ["aws", "ecs", "elb", "elb_classic", "route53", "reconcile", "invocation"] {
            assert!(!seen.names(&format!("crate::{edge}")), "{name} names {edge}");
        }
    }
}

#[test]
fn each_sdk_is_known_to_its_edge_only() {
    for (sdk, edge) in [
        ("aws_sdk_ecs", "ecs"),
        ("aws_sdk_elasticloadbalancing", "elb_classic"),
        ("aws_sdk_elasticloadbalancingv2", "elb"),
        ("aws_sdk_route53", "route53"),
    ] {
        let modules = modules();
        let knowing: Vec<&str> = modules
            .iter()
            .filter(|(_, seen)| seen.names(sdk))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(knowing, [edge], "{sdk}");
    }
}

#[test]
fn the_planner_knows_no_ecs_and_the_ecs_edge_no_dns() {
    let modules = modules();
    for aws in ["ecs", "elb", "route53", "aws", "world", "trigger"] {
        assert!(!modules["plan"].names(&format!("crate::{aws}")), "plan names {aws}");
    }
    for dns in ["dns", "zone", "marker", "plan", "desired", "route53"] {
        assert!(!modules["ecs"].names(&format!("crate::{dns}")), "ecs names {dns}");
    }
}

#[test]
fn only_the_check_makes_what_is_applied() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../handler/src");
    let plan = std::fs::read_to_string(source.join("plan.rs")).expect("plan.rs");
    // Its fields are private to the module, and within it one place fills them.
    assert_eq!(
        plan.matches("SafePlan {").count(),
        5,
        "declaration, impl, two signatures, and the check"
    );
    let reconcile = std::fs::read_to_string(source.join("reconcile.rs")).expect("reconcile.rs");
    assert!(reconcile.contains("async fn apply<'a>(&self, plan: &'a SafePlan,"));
}

#[test]
fn no_trait_stands_between_the_edges_and_the_sdk() {
    for (name, seen) in modules() {
        assert!(!seen.traits, "{name} declares a trait");
    }
}
