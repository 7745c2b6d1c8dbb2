//go:build tools

// Package tools keeps the programs of Kubernetes that the long tests of the chart build in go.mod.
package tools

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kubectl"
)
