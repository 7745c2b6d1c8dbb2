// Command dockerfile reads a Dockerfile as a builder does, without one: BuildKit's own frontend parses it, plans a
// target and lints all.  It prints one line of JSON: the findings, and what the target takes, runs and starts as.
//
//	go run . ../../Dockerfile gpu VLLM_IMAGE=vllm/vllm-openai:v0.32.0@sha256:...
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// plan is what a target comes to: the images it starts from, the commands it runs, and how its image starts.
type plan struct {
	Images []string             `json:"images"`
	Runs   []string             `json:"runs"`
	Local  []string             `json:"local"`
	Config ocispecs.ImageConfig `json:"config"`
}

type printed struct {
	Warnings []string `json:"warnings"`
	Error    string   `json:"error,omitempty"`
	Plan     plan     `json:"plan"`
}

// images knows every image, with nothing in its configuration: no registry is asked.
type images struct{}

func (images) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	config, err := json.Marshal(ocispecs.Image{Platform: ocispecs.Platform{Architecture: "amd64", OS: "linux"},
		RootFS: ocispecs.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromString("a layer")}},
		Config: ocispecs.ImageConfig{Env: []string{"PATH=/usr/bin:/bin"}}})
	_, pinned, _ := strings.Cut(ref, "@")
	return ref, digest.Digest(pinned), config, err
}

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	found := printed{Warnings: []string{}}
	platform := ocispecs.Platform{Architecture: "amd64", OS: "linux"}
	given := map[string]string{}
	for _, pair := range os.Args[3:] {
		name, value, _ := strings.Cut(pair, "=")
		given[name] = value
	}
	source := llb.NewSourceMap(nil, "Dockerfile", "dockerfile", text)
	source.Definition = &llb.Definition{}
	options := func(target string) dockerfile2llb.ConvertOpt {
		return dockerfile2llb.ConvertOpt{Config: dockerui.Config{Target: target, BuildArgs: given},
			TargetPlatform: &platform, MetaResolver: images{}, SourceMap: source}
	}
	lint, err := dockerfile2llb.DockerfileLint(context.Background(), text, options(""))
	if err == nil && lint.Error != nil {
		found.Error = lint.Error.Message
	}
	if err == nil {
		for _, warning := range lint.Warnings {
			found.Warnings = append(found.Warnings, warning.RuleName+": "+warning.Detail)
		}
		found.Plan, err = planned(text, options(os.Args[2]))
	}
	if err != nil {
		found.Error = err.Error()
	}
	_ = json.NewEncoder(os.Stdout).Encode(found)
}

func planned(text []byte, options dockerfile2llb.ConvertOpt) (plan, error) {
	result, err := dockerfile2llb.Dockerfile2LLB(context.Background(), text, options)
	if err != nil {
		return plan{}, err
	}
	definition, err := result.State.Marshal(context.Background(), llb.Platform(*options.TargetPlatform))
	if err != nil {
		return plan{}, err
	}
	found := plan{Config: result.Image.Config.ImageConfig}
	for _, raw := range definition.Def {
		var op pb.Op
		if err := op.UnmarshalVT(raw); err != nil {
			return plan{}, err
		}
		if source := op.GetSource(); source != nil {
			if name, isImage := strings.CutPrefix(source.Identifier, "docker-image://"); isImage {
				found.Images = append(found.Images, name)
			} else {
				found.Local = append(found.Local, source.Attrs["local.followpaths"])
			}
		}
		if run := op.GetExec(); run != nil {
			found.Runs = append(found.Runs, strings.Join(run.Meta.Args, " "))
		}
	}
	return found, nil
}
