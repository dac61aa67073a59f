"""Where blocks are computed: threads, processes, queues, gateways, Kubernetes, machines reached by SSH."""
