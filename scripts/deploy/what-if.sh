#!/usr/bin/env bash
# What a deployment would change; nothing is changed. This is also what first runs the Bicep compiler.
#   scripts/deploy/what-if.sh dev
. "$(dirname "$0")/common.sh"
need_environment "${1:-}"
need_group
if grep -nE 'example|00000000-0000-0000-0000-000000000000' "$PARAMETERS" >/dev/null; then
  say "note: $PARAMETERS still holds example values; a what-if is fine with them, create.sh is not"
fi
NEXT="a message about the group: scripts/deploy/prepare.sh; about a template: put it right and run make check; about a right: docs/deploy.md, step 1"
az deployment group what-if --resource-group "$GROUP" --name "$DEPLOYMENT" \
  --template-file infra/main.bicep --parameters "@$PARAMETERS"
say "done, nothing was changed; next: scripts/deploy/create.sh $ENVIRONMENT"
