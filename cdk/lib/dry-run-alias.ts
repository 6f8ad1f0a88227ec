/** The handler refuses everything but requests for dry runs through this alias. `handler/src/domain/trigger.rs` has it, too. */
export const DRY_RUN_ALIAS = 'dry-run';
