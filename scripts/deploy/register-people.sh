#!/usr/bin/env bash
# The app registration that signs people in, with the roles of infra/app-roles.json. Repeating it changes nothing more.
#   scripts/deploy/register-people.sh dev
# Needs the right to register applications (Application Developer) and prints what goes into the parameter file.
. "$(dirname "$0")/common.sh"
need_environment "${1:-}"
need az "install the Azure CLI (https://aka.ms/azure-cli), then az login"
need python3 "install Python 3.13"
name="Concord $ENVIRONMENT"

NEXT="ask whoever may register applications in Entra ID to run this step, and to give you the id it prints"
found="$(az ad app list --filter "displayName eq '$name'" --query "[].appId" --output tsv)"
if [ -z "$found" ]; then
  found="$(az ad app create --display-name "$name" --sign-in-audience AzureADMyOrg --enable-id-token-issuance true --query appId --output tsv)"
  say "registered $name"
fi
[ "$(printf '%s\n' "$found" | wc -l)" = 1 ] || stop "there is more than one application called $name" "delete all but one in Entra ID"
az ad app update --id "$found" --identifier-uris "api://$found" --app-roles @infra/app-roles.json
mkdir -p out
# The scope that lets the Azure CLI ask for tokens of this application on behalf of whoever is signed in.
object="$(az ad app show --id "$found" --query id --output tsv)"
python3 - "$found" >out/people-api.json <<'PY'
import json, sys, uuid
app = sys.argv[1]
scope = str(uuid.uuid5(uuid.NAMESPACE_URL, f"concord:{app}:user_impersonation"))
azure_cli = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
print(json.dumps({"api": {
    "oauth2PermissionScopes": [{
        "id": scope, "value": "user_impersonation", "type": "User", "isEnabled": True,
        "adminConsentDisplayName": "Use Concord", "adminConsentDescription": "Use Concord as the signed-in person.",
        "userConsentDisplayName": "Use Concord", "userConsentDescription": "Use Concord as you."}],
    "preAuthorizedApplications": [{"appId": azure_cli, "delegatedPermissionIds": [scope]}],
    "requestedAccessTokenVersion": 2}}))
PY
az rest --method patch --url "https://graph.microsoft.com/v1.0/applications/$object" --headers "Content-Type=application/json" --body @out/people-api.json
principal="$(az ad sp list --filter "appId eq '$found'" --query "[].id" --output tsv)"
if [ -z "$principal" ]; then
  az ad sp create --id "$found" --output none
fi
az ad sp update --id "$found" --set appRoleAssignmentRequired=true
say "done; peopleClientId is $found: put it into $PARAMETERS, then give people and groups their roles (Entra ID, Enterprise applications, $name)"
