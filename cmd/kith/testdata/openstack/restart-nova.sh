#!/bin/bash
# The configuration file has changed.
restart nova-compute
restart nova-api
restart nova-network
restart nova-scheduler
