// The bus: the same topics, subscriptions and rules as sandbox/broker/Config.json; a test holds the two together.
param name string
param location string
param tags object
param principalId string
param workspaceId string
@description('Premium for private endpoints and bodies above 256 KB.')
param premium bool
@description('Capacity of a Premium namespace.')
param messagingUnits int

var serviceBusDataSender = '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'
var serviceBusDataReceiver = '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'
var timeToLive = 'P14D'
var duplicateWindow = 'PT10M'
var lockDuration = 'PT1M'
// An outage redelivers every few minutes and must never end in a dead letter; 500 deliveries are more than a day.
var maxDeliveryCount = 500
var orderFlows = [
  {
    name: 'credit_hold_update'
    sql: '(retryFor IS NULL OR retryFor = \'credit_hold_update\') AND (kind IS NULL OR kind <> \'order.shipped\')'
  }
  {
    name: 'order_to_ledger'
    sql: '(retryFor IS NULL OR retryFor = \'order_to_ledger\') AND (kind IS NULL OR kind <> \'order.posted\')'
  }
  {
    name: 'crm_history_update'
    sql: 'retryFor IS NULL OR retryFor = \'crm_history_update\''
  }
]
var changeFlows = [
  {
    name: 'inventory_push'
    sql: '(retryFor IS NULL OR retryFor = \'inventory_push\') AND entity = \'stock\''
  }
  {
    name: 'account_sync'
    sql: '(retryFor IS NULL OR retryFor = \'account_sync\') AND (entity IS NULL OR entity <> \'stock\')'
  }
  {
    name: 'credit_approval_sync'
    sql: '(retryFor IS NULL OR retryFor = \'credit_approval_sync\') AND (entity IS NULL OR entity = \'concord_creditapproval\')'
  }
]

resource namespace 'Microsoft.ServiceBus/namespaces@2024-01-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: premium ? 'Premium' : 'Standard'
    tier: premium ? 'Premium' : 'Standard'
    capacity: premium ? messagingUnits : null
  }
  properties: {
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    publicNetworkAccess: premium ? 'Disabled' : 'Enabled'
  }
}

resource orders 'Microsoft.ServiceBus/namespaces/topics@2024-01-01' = {
  parent: namespace
  name: 'orders'
  properties: {
    defaultMessageTimeToLive: timeToLive
    requiresDuplicateDetection: true
    duplicateDetectionHistoryTimeWindow: duplicateWindow
    enablePartitioning: false
  }
}

resource changes 'Microsoft.ServiceBus/namespaces/topics@2024-01-01' = {
  parent: namespace
  name: 'changes'
  properties: {
    defaultMessageTimeToLive: timeToLive
    requiresDuplicateDetection: true
    duplicateDetectionHistoryTimeWindow: duplicateWindow
    enablePartitioning: false
  }
}

resource orderSubscriptions 'Microsoft.ServiceBus/namespaces/topics/subscriptions@2024-01-01' = [for flow in orderFlows: {
  parent: orders
  name: flow.name
  properties: {
    requiresSession: true
    lockDuration: lockDuration
    maxDeliveryCount: maxDeliveryCount
    defaultMessageTimeToLive: timeToLive
    deadLetteringOnMessageExpiration: true
    deadLetteringOnFilterEvaluationExceptions: true
  }
}]

resource orderRules 'Microsoft.ServiceBus/namespaces/topics/subscriptions/rules@2024-01-01' = [for index in range(0, length(orderFlows)): {
  parent: orderSubscriptions[index]
  name: orderFlows[index].name
  properties: {
    filterType: 'SqlFilter'
    sqlFilter: {
      sqlExpression: orderFlows[index].sql
    }
  }
}]

resource changeSubscriptions 'Microsoft.ServiceBus/namespaces/topics/subscriptions@2024-01-01' = [for flow in changeFlows: {
  parent: changes
  name: flow.name
  properties: {
    requiresSession: true
    lockDuration: lockDuration
    maxDeliveryCount: maxDeliveryCount
    defaultMessageTimeToLive: timeToLive
    deadLetteringOnMessageExpiration: true
    deadLetteringOnFilterEvaluationExceptions: true
  }
}]

resource changeRules 'Microsoft.ServiceBus/namespaces/topics/subscriptions/rules@2024-01-01' = [for index in range(0, length(changeFlows)): {
  parent: changeSubscriptions[index]
  name: changeFlows[index].name
  properties: {
    filterType: 'SqlFilter'
    sqlFilter: {
      sqlExpression: changeFlows[index].sql
    }
  }
}]

resource ordersSender 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(orders.id, principalId, serviceBusDataSender)
  scope: orders
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', serviceBusDataSender)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

resource changesSender 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(changes.id, principalId, serviceBusDataSender)
  scope: changes
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', serviceBusDataSender)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

resource orderReceivers 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for index in range(0, length(orderFlows)): {
  name: guid(orderSubscriptions[index].id, principalId, serviceBusDataReceiver)
  scope: orderSubscriptions[index]
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', serviceBusDataReceiver)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}]

resource changeReceivers 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for index in range(0, length(changeFlows)): {
  name: guid(changeSubscriptions[index].id, principalId, serviceBusDataReceiver)
  scope: changeSubscriptions[index]
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', serviceBusDataReceiver)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}]

resource lock 'Microsoft.Authorization/locks@2020-05-01' = {
  name: 'messages-stay'
  scope: namespace
  properties: {
    level: 'CanNotDelete'
    notes: 'Accepted events are here until their flow has settled them.'
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-workspace'
  scope: namespace
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        categoryGroup: 'allLogs'
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

output id string = namespace.id
output name string = namespace.name
output host string = '${namespace.name}.servicebus.windows.net'
