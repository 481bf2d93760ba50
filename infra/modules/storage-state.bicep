// What Concord remembers: its tables and the bodies too large for the bus. Locked against deletion.
param name string
param location string
param tags object
param principalId string
@description('Object id of the identity that exports the tables each night; empty for none.')
param exportPrincipalId string
param workspaceId string
param publicAccess bool
param zoneRedundant bool

var storageTableDataContributor = '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
var storageTableDataReader = '76199698-9eea-4c19-bc75-cec21354c6b6'
var storageBlobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
var tableNames = [
  'records'
  'cases'
  'parked'
  'credit'
  'requests'
]

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  // checkov:skip=CKV_AZURE_35:the firewall denies where private networking is chosen, as prod does; dev is reached with a role and no network
  // checkov:skip=CKV_AZURE_206:prod replicates to a second region (the expression below, which the scanner does not evaluate); dev need not
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: zoneRedundant ? 'Standard_GZRS' : 'Standard_ZRS'
  }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    allowCrossTenantReplication: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: publicAccess ? 'Allow' : 'Deny'
    }
  }
}

resource tableService 'Microsoft.Storage/storageAccounts/tableServices@2025-06-01' = {
  parent: account
  name: 'default'
}

resource tables 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-06-01' = [for table in tableNames: {
  parent: tableService
  name: table
}]

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: account
  name: 'default'
  properties: {
    deleteRetentionPolicy: {
      enabled: true
      days: 30
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: 30
    }
    isVersioningEnabled: true
  }
}

resource bodies 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: blobs
  name: 'bodies'
  properties: {
    publicAccess: 'None'
  }
}

resource tableRoles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for index in range(0, length(tableNames)): {
  name: guid(tables[index].id, principalId, storageTableDataContributor)
  scope: tables[index]
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', storageTableDataContributor)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}]

resource bodiesRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(bodies.id, principalId, storageBlobDataContributor)
  scope: bodies
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', storageBlobDataContributor)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

// Tables have no restore of their own: each night another identity reads them, and can do no more.
resource exportRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(exportPrincipalId)) {
  name: guid(account.id, exportPrincipalId, storageTableDataReader)
  scope: account
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', storageTableDataReader)
    principalId: exportPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource lock 'Microsoft.Authorization/locks@2020-05-01' = {
  name: 'state-stays'
  scope: account
  properties: {
    level: 'CanNotDelete'
    notes: 'Decisions, claims and evidence: deleting them lets orders post twice.'
  }
}

resource tableDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-workspace'
  scope: tableService
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        categoryGroup: 'audit'
        enabled: true
      }
    ]
    metrics: [
      {
        category: 'Transaction'
        enabled: true
      }
    ]
  }
}

resource blobDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-workspace'
  scope: blobs
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        categoryGroup: 'audit'
        enabled: true
      }
    ]
    metrics: [
      {
        category: 'Transaction'
        enabled: true
      }
    ]
  }
}

output id string = account.id
output name string = account.name
output tablesEndpoint string = account.properties.primaryEndpoints.table
output blobsEndpoint string = account.properties.primaryEndpoints.blob
