#!/bin/bash
remove-mysql-master-ips.sh
/etc/init.d/mysql stop
