// Validate reads Kubernetes objects (YAML documents) from standard input and prints what an API server would refuse:
// its own strict decoding, defaulting, validation, and the restricted Pod Security standard.  Objects of groups that the
// server does not know, such as those of operators, are left out.
//
// Exit codes: 0 all are accepted, 1 something is refused, 2 the input cannot be read.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	autoscalingvalidation "k8s.io/kubernetes/pkg/apis/autoscaling/validation"
	"k8s.io/kubernetes/pkg/apis/batch"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	batchvalidation "k8s.io/kubernetes/pkg/apis/batch/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
	"k8s.io/pod-security-admission/api"
	securitypolicy "k8s.io/pod-security-admission/policy"
)

func main() {
	refused, err := validate(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if refused {
		os.Exit(1)
	}
}

func validate(input io.Reader, output io.Writer) (refused bool, err error) {
	codecs := serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict)
	documents := utilyaml.NewYAMLReader(bufio.NewReader(input))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return refused, nil
		}
		if err != nil {
			return refused, err
		}
		var found metav1.PartialObjectMetadata
		if err := utilyaml.Unmarshal(document, &found); err != nil {
			return refused, err
		}
		if found.Kind == "" || !legacyscheme.Scheme.Recognizes(found.GroupVersionKind()) {
			continue
		}
		place := fmt.Sprintf("%s/%s", found.Kind, found.Name)
		for _, problem := range problems(codecs, document) {
			fmt.Fprintf(output, "%s: %s\n", place, problem)
			refused = true
		}
	}
}

func problems(codecs serializer.CodecFactory, document []byte) (found []string) {
	// The external form with its fields known, for the Pod Security standard; then the internal one, with defaults.
	external, _, err := codecs.UniversalDeserializer().Decode(document, nil, nil)
	if err != nil {
		return []string{err.Error()}
	}
	internal, err := runtime.Decode(codecs.UniversalDecoder(), document)
	if err != nil {
		return []string{err.Error()}
	}
	if o, err := meta.Accessor(internal); err == nil && o.GetNamespace() == "" {
		o.SetNamespace("default") // as every client fills it in
	}
	for _, problem := range refusals(internal) {
		found = append(found, problem.Error())
	}
	return append(found, unrestricted(external)...)
}

func refusals(object runtime.Object) field.ErrorList {
	switch o := object.(type) {
	case *apps.Deployment:
		return appsvalidation.ValidateDeployment(o, podutil.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil))
	case *apps.StatefulSet:
		options := podutil.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil)
		return appsvalidation.ValidateStatefulSet(o, appsvalidation.StatefulSetValidationOptions{}, options)
	case *batch.Job:
		// The server gives a Job its selector and these labels before it validates the rest.
		o.UID = "uid"
		labels := map[string]string{"batch.kubernetes.io/controller-uid": "uid"}
		o.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
		named := map[string]string{
			"batch.kubernetes.io/controller-uid": "uid", "batch.kubernetes.io/job-name": o.Name,
			"controller-uid": "uid", "job-name": o.Name,
		}
		maps.Copy(named, o.Spec.Template.Labels)
		o.Spec.Template.Labels = named
		options := podutil.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil)
		return batchvalidation.ValidateJobCreate(o, batchvalidation.JobValidationOptions{
			PodValidationOptions: options, RequirePrefixedLabels: true,
		})
	case *core.Pod:
		options := podutil.GetValidationOptionsFromPodSpecAndMeta(&o.Spec, nil, &o.ObjectMeta, nil)
		return corevalidation.ValidatePodCreate(o, options)
	case *core.Service:
		if o.Spec.ClusterIP != "" { // the server writes the list before it validates
			o.Spec.ClusterIPs = []string{o.Spec.ClusterIP}
		}
		return corevalidation.ValidateServiceCreate(o)
	case *core.ConfigMap:
		return corevalidation.ValidateConfigMap(o)
	case *core.ServiceAccount:
		return corevalidation.ValidateServiceAccount(o)
	case *core.PersistentVolumeClaim:
		return corevalidation.ValidatePersistentVolumeClaim(o, corevalidation.ValidationOptionsForPersistentVolumeClaimCreate())
	case *policy.PodDisruptionBudget:
		return policyvalidation.ValidatePodDisruptionBudget(o, policyvalidation.PodDisruptionBudgetValidationOptions{})
	case *networking.NetworkPolicy:
		return networkingvalidation.ValidateNetworkPolicy(o, networkingvalidation.ValidationOptionsForNetworking(o, nil))
	case *networking.Ingress:
		return networkingvalidation.ValidateIngressCreate(o)
	case *autoscaling.HorizontalPodAutoscaler:
		least := autoscalingvalidation.HorizontalPodAutoscalerSpecValidationOptions{MinReplicasLowerBound: 1}
		return autoscalingvalidation.ValidateHorizontalPodAutoscaler(o, least)
	}
	return field.ErrorList{field.Invalid(field.NewPath("kind"), fmt.Sprintf("%T", object), "want a kind that this program validates")}
}

func unrestricted(object runtime.Object) (found []string) {
	var metadata *metav1.ObjectMeta
	var spec *corev1.PodSpec
	switch o := object.(type) {
	case *appsv1.Deployment:
		metadata, spec = &o.Spec.Template.ObjectMeta, &o.Spec.Template.Spec
	case *appsv1.StatefulSet:
		metadata, spec = &o.Spec.Template.ObjectMeta, &o.Spec.Template.Spec
	case *batchv1.Job:
		metadata, spec = &o.Spec.Template.ObjectMeta, &o.Spec.Template.Spec
	case *corev1.Pod:
		metadata, spec = &o.ObjectMeta, &o.Spec
	default:
		return nil
	}
	evaluator, err := securitypolicy.NewEvaluator(securitypolicy.DefaultChecks(), nil)
	if err != nil {
		return []string{err.Error()}
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	result := securitypolicy.AggregateCheckResults(evaluator.EvaluatePod(level, metadata, spec))
	if !result.Allowed {
		found = append(found, "restricted: "+result.ForbiddenDetail())
	}
	return found
}
