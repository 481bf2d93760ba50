// The page an operations team keeps open: is checkout fast, is anything late, what needs a person.
param location string
param tags object
param workspaceId string
param runbooksUrl string

var charts = [
  {
    name: 'orders-by-outcome'
    title: 'Orders by what became of them'
    visualization: 'barchart'
    query: loadTextContent('../queries/orders-by-outcome.kql')
  }
  {
    name: 'lag-by-flow'
    title: 'Seconds from event to effect, by flow'
    visualization: 'timechart'
    query: loadTextContent('../queries/lag-by-flow.kql')
  }
  {
    name: 'credit-check-latency'
    title: 'Credit check at checkout: p50, p95, p99'
    visualization: 'timechart'
    query: loadTextContent('../queries/credit-check-latency.kql')
  }
  {
    name: 'credit-decisions'
    title: 'Credit decisions'
    visualization: 'barchart'
    query: loadTextContent('../queries/credit-decisions.kql')
  }
  {
    name: 'remote-calls'
    title: 'Calls to SAP, Dataverse and Commerce: duration, failures, throttling'
    visualization: 'table'
    query: loadTextContent('../queries/remote-calls.kql')
  }
  {
    name: 'cases-by-reason'
    title: 'Cases, by reason'
    visualization: 'table'
    query: loadTextContent('../queries/cases-by-reason.kql')
  }
  {
    name: 'slowest-orders'
    title: 'Orders that took longest, with their correlation id'
    visualization: 'table'
    query: loadTextContent('../queries/slowest-orders.kql')
  }
]
var heading = [
  {
    type: 1
    name: 'heading'
    content: {
      json: '# Concord\nWhat to do when something is wrong stands in the [runbooks](${runbooksUrl}).'
    }
  }
  {
    type: 9
    name: 'parameters'
    content: {
      version: 'KqlParameterItem/1.0'
      parameters: [
        {
          version: 'KqlParameterItem/1.0'
          name: 'TimeRange'
          label: 'Time range'
          type: 4
          isRequired: true
          value: {
            durationMs: 86400000
          }
          typeSettings: {
            selectableValues: [
              {
                durationMs: 3600000
              }
              {
                durationMs: 86400000
              }
              {
                durationMs: 604800000
              }
              {
                durationMs: 2592000000
              }
            ]
          }
        }
      ]
    }
  }
]
var chartItems = [for chart in charts: {
  type: 3
  name: chart.name
  content: {
    version: 'KqlItem/1.0'
    title: chart.title
    query: chart.query
    size: 0
    queryType: 0
    resourceType: 'microsoft.operationalinsights/workspaces'
    visualization: chart.visualization
    timeContextFromParameter: 'TimeRange'
  }
}]

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(workspaceId, 'concord-operations')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Concord operations'
    category: 'workbook'
    sourceId: workspaceId
    version: 'Notebook/1.0'
    serializedData: string({
      version: 'Notebook/1.0'
      items: concat(heading, chartItems)
      fallbackResourceIds: [
        workspaceId
      ]
    })
  }
}
