// @ts-check
/**
 * `npm run mutate`: breaks a copy of the handler in one way at a time, and shows that the simulation
 * finds each. A proof that finds nothing when there is something to find would be none.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { environment, root, run } from './setup.mjs';
import { build, simulation } from './simulate.mjs';

/** @type {{ name: string, edits: [string, string, string][] }[]} each edit is a file, what is found there, and what takes its place */
const mutations = [
  {
    name: 'UPSERT instead of CREATE',
    edits: [['route53.rs', '(ChangeAction::Create, rrset)', '(ChangeAction::Upsert, rrset)']],
  },
  {
    name: 'no look after writing',
    edits: [
      [
        'reconcile.rs',
        'Task::Reconcile(_) => self.look_again(&done, &world, &mut course.outcomes).await,',
        'Task::Reconcile(_) => BTreeSet::new(),',
      ],
    ],
  },
  {
    name: 'delete without describing: a list that misses a service is believed',
    edits: [
      ['world.rs', 'services.extend(&holders);', ''],
      ['plan.rs', 'None | Some(Wish::Waiting { .. }', 'None => false,\n        Some(Wish::Waiting { .. }'],
    ],
  },
  {
    name: 'marker in a batch of its own',
    edits: [
      [
        'route53.rs',
        'let changes = ChangeBatch::builder().set_changes(Some(changes)).build();',
        `let (markers, changes): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change: &Change| {
            change.resource_record_set().is_some_and(|rrset| rrset.name().starts_with("_discovery"))
        });
        let markers = ChangeBatch::builder().set_changes(Some(markers)).build();
        let markers = markers.map_err(|error| failed(error.to_string()))?;
        let markers = self.client.change_resource_record_sets().change_batch(markers);
        let markers = markers.hosted_zone_id(first.zone.as_str()).send().await;
        markers.map_err(|error| failed(error.to_string()))?;
        let changes = ChangeBatch::builder().set_changes(Some(changes)).build();`,
      ],
    ],
  },
  {
    name: "trusting the event's payload",
    edits: [
      [
        'reconcile.rs',
        'world.load_balancers.extend(ahead(balancers));',
        `world.load_balancers.extend(ahead(balancers));
                for arn in &named.deleted {
                    let gone = Service::Gone(crate::service::Gone::Missing);
                    world.services.insert(arn.clone(), Ok(gone));
                }`,
      ],
    ],
  },
  {
    name: 'an error taken for an empty list',
    edits: [['ecs.rs', 'each(&|_| Err(error.clone().into()))', 'drop(error);\n                each(&|_| Ok(Service::Gone(Gone::Missing)))']],
  },
  {
    name: 'no isolation of refused changes',
    edits: [['reconcile.rs', 'if batch.len() == 1 {', 'if !batch.is_empty() {']],
  },
];

const copy = path.join(root, '.local', 'mutated');
const source = path.join(copy, 'handler', 'src');

await run(async () => {
  rmSync(copy, { recursive: true, force: true });
  mkdirSync(copy, { recursive: true });
  for (const part of ['Cargo.toml', 'Cargo.lock', 'handler', 'tests']) {
    cpSync(path.join(root, part), path.join(copy, part), { recursive: true });
  }
  // The dependencies are built already.
  const env = { ...environment, CARGO_TARGET_DIR: path.join(root, 'target') };
  let missed = 0;
  for (const { name, edits } of mutations) {
    for (const [file, found, instead] of edits) {
      const text = readFileSync(path.join(source, file), 'utf8');
      if (text.split(found).length !== 2) throw new Error(`${name}: ${file} has not exactly one ${JSON.stringify(found)}`);
      writeFileSync(path.join(source, file), text.replace(found, () => instead));
    }
    const built = spawnSync('cargo', build, { cwd: copy, env, encoding: 'utf8' });
    if (built.status !== 0) throw new Error(`${name}: ${built.stderr}`);
    const ran = spawnSync(simulation, ['--seeds', '3000'], { encoding: 'utf8' });
    const seed = /✗ seed (\d+) breaks invariant (\d)/.exec(ran.stdout);
    if (seed) console.log(`✓ ${name}: seed ${seed[1]} breaks invariant ${seed[2]}`);
    else {
      missed += 1;
      console.log(`✗ ${name}: not found\n${ran.stdout.slice(-500)}\n${ran.stderr.slice(-2000)}`);
    }
    for (const [file] of edits) cpSync(path.join(root, 'handler', 'src', file), path.join(source, file));
  }
  rmSync(copy, { recursive: true, force: true });
  // It is the last broken one, and cargo would take it for that of the project.
  rmSync(simulation, { force: true });
  return missed === 0 ? 0 : 1;
});
