// Energy and forces of water with model.pt2 in C++: no Python and no nnpipe is needed.
//
//     torch=$(python -c "import torch; print(torch.__path__[0])")
//     g++ -std=c++20 -O2 example.cpp -o example -I$torch/include
//         -I$torch/include/torch/csrc/api/include -L$torch/lib -Wl,-rpath,$torch/lib
//         -ltorch -ltorch_cpu -lc10
//     ./example model.pt2
//
// model.json states the units and the layout of inputs and outputs.

#include <iostream>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/torch.h>
#include <vector>

int main(int count, char **arguments) {
    torch::inductor::AOTIModelPackageLoader program(count > 1 ? arguments[1] : "model.pt2");
    const std::vector<at::Tensor> inputs = {
        torch::tensor({8, 1, 1}, torch::kInt64), // atomic numbers
        torch::tensor({{0.0, 0.0, 0.119262}, {0.0, 0.763239, -0.477047}, {0.0, -0.763239, -0.477047}},
                      torch::kFloat64),                          // positions, Å
        torch::zeros({3, 3}, torch::kFloat64),                   // cell, Å: open space
        torch::tensor({{1, 2}, {0, 2}, {0, 1}}, torch::kInt64), // neighbours of each atom
        torch::zeros({3, 2, 3}, torch::kInt64)};                 // and their lattice shifts
    const std::vector<at::Tensor> results = program.run(inputs);
    std::cout.precision(12);
    std::cout << "energy " << results[0].item<double>() << " eV\n";
    for (int atom = 0; atom < 3; ++atom) {
        std::cout << "force";
        for (int axis = 0; axis < 3; ++axis) std::cout << " " << results[1][atom][axis].item<double>();
        std::cout << " eV/Å\n";
    }
}
