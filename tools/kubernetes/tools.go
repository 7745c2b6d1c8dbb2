//go:build tools

// Package tools keeps the programs of Kubernetes that `make kubernetes` builds in go.mod.
package tools

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
)
