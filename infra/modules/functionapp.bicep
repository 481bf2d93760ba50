// The app on Flex Consumption: Python 3.13, identity only, people signed in by Entra.
param name string
param location string
param tags object
param identityId string
param identityClientId string
param workspaceId string
param insightsConnectionString string
param deploymentStorageName string
param deploymentContainerUrl string
param tablesEndpoint string
param blobsEndpoint string
param serviceBusHost string
param keyVaultUri string
param peopleClientId string
@description('Subnet of the app, empty without private networking.')
param subnetId string
param zoneRedundant bool
param maximumInstanceCount int
param alwaysReadyInstances int
param httpConcurrency int
param instanceMemoryMB int
param traceRatio string
param sapUrl string
param sapClient string
param sapUser string
param sapCallsPerInstance int
param dataverseUrl string
param commerceRetailUrl string
param commerceHqUrl string
param inventoryUrl string
param inventoryTokenUrl string
param inventoryEnvironmentId string

// Every lane finds a session slot at once: lanes = maxConcurrentSessions of host.json times the instances always ready.
var sessionsPerInstance = loadJsonContent('../../host.json').extensions.serviceBus.maxConcurrentSessions

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  // checkov:skip=CKV_AZURE_225:a parameter that prod sets; one zone is enough for dev
  name: 'plan-${name}'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
    zoneRedundant: zoneRedundant
  }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  // checkov:skip=CKV_AZURE_222:Dataverse, SAP and Commerce call from the internet; keys, sign-in and roles guard each door
  // checkov:skip=CKV_AZURE_17:the callers have no client certificates; they come with keys or Entra tokens
  // checkov:skip=CKV_AZURE_212:Flex Consumption has always-ready instances instead of a worker count
  // checkov:skip=CKV_AZURE_213:Flex Consumption has no health check path; the smoke test and an outside probe call /api/health
  name: name
  location: location
  tags: tags
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    clientCertEnabled: false
    keyVaultReferenceIdentity: identityId
    // Dataverse, SAP and Commerce call from the internet: the doors are public, what stands behind them is not.
    publicNetworkAccess: 'Enabled'
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: deploymentContainerUrl
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: {
        name: 'python'
        version: '3.13'
      }
      scaleAndConcurrency: {
        maximumInstanceCount: maximumInstanceCount
        instanceMemoryMB: instanceMemoryMB
        alwaysReady: [
          {
            name: 'http'
            instanceCount: alwaysReadyInstances
          }
          {
            name: 'function:order_to_ledger'
            instanceCount: alwaysReadyInstances
          }
          {
            name: 'function:credit_hold_update'
            instanceCount: alwaysReadyInstances
          }
          {
            name: 'function:crm_history_update'
            instanceCount: alwaysReadyInstances
          }
          {
            name: 'function:inventory_push'
            instanceCount: alwaysReadyInstances
          }
          {
            name: 'function:account_sync'
            instanceCount: alwaysReadyInstances
          }
          {
            name: 'function:credit_approval_sync'
            instanceCount: alwaysReadyInstances
          }
        ]
        triggers: {
          http: {
            perInstanceConcurrency: httpConcurrency
          }
        }
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      ftpsState: 'Disabled'
      http20Enabled: true
    }
  }
}

resource settings 'Microsoft.Web/sites/config@2025-03-01' = {
  // checkov:skip=CKV_AZURE_66:failed request tracing is a matter of the web configuration, not of these settings
  // checkov:skip=CKV_AZURE_63:HTTP logging is a matter of the web configuration; requests are in Application Insights
  // checkov:skip=CKV_AZURE_65:detailed error pages are a matter of the web configuration, and would tell callers too much
  // checkov:skip=CKV_AZURE_80:nothing here is .NET
  // checkov:skip=CKV_AZURE_88:Flex Consumption keeps its content in the deployment container, not on Azure Files
  // checkov:skip=CKV_AZURE_222:said at the app itself: its doors are public, because SaaS systems call them
  // checkov:skip=CKV_AZURE_13:sign-in is the resource below
  parent: app
  name: 'appsettings'
  properties: {
    AzureWebJobsStorage__accountName: deploymentStorageName
    AzureWebJobsStorage__credential: 'managedidentity'
    AzureWebJobsStorage__clientId: identityClientId
    ServiceBus__fullyQualifiedNamespace: serviceBusHost
    ServiceBus__credential: 'managedidentity'
    ServiceBus__clientId: identityClientId
    Tables__endpoint: tablesEndpoint
    Blobs__endpoint: blobsEndpoint
    Identity__clientId: identityClientId
    APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnectionString
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
    Sap__url: sapUrl
    Sap__client: sapClient
    Sap__user: sapUser
    Sap__password: '@Microsoft.KeyVault(SecretUri=${keyVaultUri}secrets/sap-password)'
    Sap__concurrentCalls: string(sapCallsPerInstance)
    Dataverse__url: dataverseUrl
    Commerce__retailUrl: commerceRetailUrl
    Commerce__hqUrl: commerceHqUrl
    Commerce__inventoryUrl: inventoryUrl
    Commerce__inventoryTokenUrl: inventoryTokenUrl
    Commerce__environmentId: inventoryEnvironmentId
    Concord__serviceKey: '@Microsoft.KeyVault(SecretUri=${keyVaultUri}secrets/service-key)'
    Concord__traceRatio: traceRatio
    Concord__lanes: string(sessionsPerInstance * alwaysReadyInstances)
    Concord__guaranteedInstances: string(alwaysReadyInstances)
  }
}

// People are signed in by the platform. The excluded paths are those of machines, which come with function keys that the
// host checks; they are whole paths, never wildcards, so that a person's door (an approval) cannot slip through.
resource signIn 'Microsoft.Web/sites/config@2025-03-01' = {
  // checkov:skip=CKV_AZURE_66:failed request tracing is a matter of the web configuration, not of these settings
  // checkov:skip=CKV_AZURE_63:HTTP logging is a matter of the web configuration; requests are in Application Insights
  // checkov:skip=CKV_AZURE_65:detailed error pages are a matter of the web configuration, and would tell callers too much
  // checkov:skip=CKV_AZURE_80:nothing here is .NET
  // checkov:skip=CKV_AZURE_88:Flex Consumption keeps its content in the deployment container, not on Azure Files
  // checkov:skip=CKV_AZURE_222:said at the app itself: its doors are public, because SaaS systems call them
  // checkov:skip=CKV_AZURE_13:this is it, in its second version, which the scanner does not know
  // checkov:skip=CKV_AZURE_56:this is it, in its second version, which the scanner does not know
  parent: app
  name: 'authsettingsV2'
  properties: {
    globalValidation: {
      requireAuthentication: true
      unauthenticatedClientAction: 'Return401'
      excludedPaths: [
        '/api/credit-checks'
        '/api/webhooks/commerce'
        '/api/webhooks/sap'
        '/api/webhooks/dataverse'
        '/api/availability'
        '/api/health'
      ]
    }
    httpSettings: {
      requireHttps: true
    }
    identityProviders: {
      azureActiveDirectory: {
        enabled: true
        registration: {
          clientId: peopleClientId
          openIdIssuer: '${environment().authentication.loginEndpoint}${subscription().tenantId}/v2.0'
        }
        validation: {
          allowedAudiences: [
            peopleClientId
            'api://${peopleClientId}'
          ]
        }
      }
    }
    login: {
      tokenStore: {
        enabled: false
      }
    }
  }
}

resource noScmPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'scm'
  properties: {
    allow: false
  }
}

resource noFtpPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'ftp'
  properties: {
    allow: false
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-workspace'
  scope: app
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'FunctionAppLogs'
        enabled: true
      }
      {
        category: 'AppServiceAuthenticationLogs'
        enabled: true
      }
    ]
    metrics: [
      {
        category: 'AllMetrics'
        enabled: true
      }
    ]
  }
}

output name string = app.name
output host string = app.properties.defaultHostName
