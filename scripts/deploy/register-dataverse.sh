#!/usr/bin/env bash
# Tables, columns, alternate keys and webhooks in Dataverse, as infra/dataverse.yaml lists them. Repeating it changes nothing more.
#   scripts/deploy/register-dataverse.sh dev --dry-run       says what it would make
#   scripts/deploy/register-dataverse.sh dev                 makes it
#   scripts/deploy/register-dataverse.sh dev --rotate-key    a new webhook key as well
# Run it as somebody with the role System Customizer in the organization.
. "$(dirname "$0")/common.sh"
need_environment "${1:-}"
shift
need_group
python="${PYTHON:-.venv/bin/python}"
[ -x "$python" ] || stop "there is no $python" "make check, which sets it up"
url="$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["parameters"]["dataverseUrl"]["value"])' "$PARAMETERS")"
app="$(output_of functionAppName)"
host="$(output_of functionAppHost)"

NEXT="az login as somebody who is a user of $url, then this step again"
DATAVERSE_TOKEN="$(az account get-access-token --resource "$url" --query accessToken --output tsv)"
export DATAVERSE_TOKEN

NEXT="the webhook's key is a host key called dataverse or dataverse-2: az functionapp keys list -g $GROUP -n $app shows them"
current="$(az functionapp keys list --resource-group "$GROUP" --name "$app" --query "functionKeys | keys(@) | [?@=='dataverse' || @=='dataverse-2'] | [0]" --output tsv)"
obsolete=""
case " $* " in
  *" --dry-run "*) WEBHOOK_KEY="" ;;
  *)
    name="${current:-dataverse}"
    case " $* " in *" --rotate-key "*) [ -z "$current" ] || { obsolete="$current" && name="$([ "$current" = dataverse ] && echo dataverse-2 || echo dataverse)"; } ;; esac
    if [ "$name" != "$current" ]; then
      az functionapp keys set --resource-group "$GROUP" --name "$app" --key-type functionKeys --key-name "$name" --output none
    fi
    WEBHOOK_KEY="$(az functionapp keys list --resource-group "$GROUP" --name "$app" --query "functionKeys.\"$name\"" --output tsv)"
    ;;
esac
export WEBHOOK_KEY

NEXT="read what stands in the way; everything made so far stays, and this step goes on from there"
"$python" scripts/dataverse_setup.py --url "$url" --webhook "https://$host/api/webhooks/dataverse" "$@"
if [ -n "$obsolete" ]; then
  az functionapp keys delete --resource-group "$GROUP" --name "$app" --key-type functionKeys --key-name "$obsolete" --output none
  say "the key $obsolete is gone"
fi
say "done; next: docs/deploy.md, step 8 (Commerce and SAP), or change an account in CRM and read concord GET lineage/account/<number>"
