#!/usr/bin/env bash
# Publish the package before the last one again. There are no slots: rolling back is publishing.
#   scripts/deploy/rollback.sh             the one before the last that was published to this group from here
#   scripts/deploy/rollback.sh FILE.zip    any other, for example the artifact of an earlier run of the workflow
. "$(dirname "$0")/common.sh"
need_group
package="${1:-}"
if [ -z "$package" ]; then
  [ -f out/releases/published.log ] || stop "nothing was published from this machine" "download the package of an earlier run of the workflow, then scripts/deploy/rollback.sh FILE.zip"
  current="$(awk -v group="$GROUP" '$2 == group {last = $3} END {print last}' out/releases/published.log)"
  package="$(awk -v group="$GROUP" -v current="$current" '$2 == group && $3 != current {last = $3} END {print last}' out/releases/published.log)"
  [ -n "$package" ] || stop "only one package was ever published to $GROUP from this machine" "git checkout <an earlier tag>, scripts/deploy/package.sh, scripts/deploy/publish.sh"
fi
[ -s "$package" ] || stop "there is no package $package" "scripts/deploy/rollback.sh FILE.zip with one that is there"
say "back to $package"
NEXT="scripts/deploy/publish.sh $package"
bash scripts/deploy/publish.sh "$package"
NEXT="health did not come back: scripts/deploy/rollback.sh with a package that is older still"
bash scripts/deploy/smoke.sh
say "done; the infrastructure is as it was: to take that back, check out the earlier revision and run what-if.sh and create.sh"
